"""Do refuters let units' effects pass and effects by lot not; and a set that changes strokes but not the digit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from judges import LeNet, load_lenet
from pentimento.causal import Effect, paired
from pentimento.features import FeatureNetwork, open_network
from pentimento.interventions import MEAN
from pentimento.models import load
from pentimento.runtime import derive_seed
from pentimento.studies.dissection import Aim, Dissection, Found, control, dissect, fresh_samples, placebos
from pentimento.studies.effects import Effects, Row, conclude
from pentimento.studies.experiment import Arm, Experiment
from pentimento.studies.outcomes import Outcome, find_outcomes
from pentimento.studies.refuting import refute
from reporting import Figure, mean_interval, wilson

__all__ = ["NOTES", "by_lot", "measure"]

# generator -> what is measured of its pictures
GENERATORS = {"mnist-gan": ("brightness", "symmetry"), "cifar-gan": ("brightness", "saturation")}
DIGITS, THINNER_PX, WITHIN = "mnist-gan", -0.3, 0.02
JUDGE = "LeNet"
NOTES = [
    "Every unit is set to its usual value by itself; effects are corrected over all units and outcomes "
    "(Benjamini-Hochberg, 0.05); what is found is put to placebo, dummy outcome, permuted pairing, stable and on "
    "manifold. Placebo asks for more than an effect: that the unit does more than all of 19 that are as active, which "
    "of 20 units that all do something one can. So both are told: what passes the others, and what passes it as well. "
    "(Set to 0 instead of the usual value, nearly all units fail on manifold: their mean is never 0 by itself.)",
    "Effects by lot: the same pictures of the same units, but lots decide pair by pair which of the two counts as the "
    "one with the unit set. Sizes, tails and realism of the differences stay, and no effect is left. They go through "
    "the same correction and the same refuters, with placebos that are by lot as well; once as found after correction, "
    "in 20 draws of lots, and once as somebody would who does not correct (p <= 0.05), in one draw.",
    "The set: units that change the mean stroke thickness, chosen so that the mean confidence of the judge stays "
    f"within {WITHIN:g}, told on samples on which it was not chosen. The judge is a LeNet of others, 99.1 % on the "
    "test set. Kept: read as the digit that was asked for.",
    "Shares come with Wilson's interval as if effects were independent; effects of one unit are not.",
]


def measure(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    network = open_network("features-cifar")
    figures = []
    for name, outcomes in GENERATORS.items():
        experiment = Experiment(load(name).eval(), chosen.seed)
        how = {"stages": chosen.stages, "value": MEAN, "count": chosen.samples, "judge": network}
        found = dissect(experiment, find_outcomes(outcomes, spec=experiment.model.spec), **how)
        print(f"{name}: dissected", file=sys.stderr)
        figures += survivors(name, found.study.effects)
        figures += unfounded(name, experiment, found, network)
        print(f"{name}: by lot", file=sys.stderr)
    return figures + strokes(chosen)


# ------------------------------------------------------------------------------------------------ survivors
def survivors(name: str, effects: Sequence[Effect]) -> list[Figure]:
    """How many effects are found, and how many of them pass; what fails them."""
    found = [e for e in effects if e.found]
    failed = {r.name for e in found for r in e.refutations}
    share = {n: sum(not r.passed for e in found for r in e.refutations if r.name == n) / len(found) for n in failed}
    told = ", ".join(f"{n} {part:.0%}" for n, part in sorted(share.items(), key=lambda item: -item[1]))
    return [
        percent(f"{name}: effects of units that are found", len(found), len(effects)),
        percent(
            f"{name}: found effects that pass all refuters but placebo",
            sum(passes(e, but="placebo") for e in found),
            len(found),
            note=f"failed by {told}",
        ),
        percent(f"{name}: found effects that pass all refuters", sum(map(passes, found)), len(found)),
    ]


def passes(effect: Effect, but: str = "") -> bool:
    """All refuters, leaving one out."""
    return all(r.passed for r in effect.refutations if r.name != but)


def percent(
    name: str, hits: int, count: int, aim: str | None = None, met: bool | None = None, note: str = ""
) -> Figure:
    """A share."""
    told = f"{hits:,} of {count:,}" + (f"; {note}" if note else "")
    return Figure(name, 100 * hits / count, "%", wilson(hits, count), aim=aim, met=met, note=told)


def unfounded(name: str, experiment: Experiment, found: Dissection, network: FeatureNetwork) -> list[Figure]:
    """The same of effects by lot."""
    draws = [by_lot(experiment, found, draw) for draw in range(20)]
    corrected = [e for effects in draws for e in effects.study.effects]
    one = draws[0]
    # As found without correction: the p-value alone.
    blind = replace(one.study, effects=tuple(replace(e, q_value=None) for e in one.study.effects))
    others = placebos(one.measured, found.activity, experiment.seed)
    tried = refute(experiment, replace(one, study=blind), network, others=others).study.effects
    claimed = [e for e in tried if e.found]
    beyond, passed = sum(passes(e, but="placebo") for e in claimed), sum(map(passes, claimed))
    uncorrected = f"{name}: effects by lot, p <= 0.05 without correction, that pass all refuters"
    return [
        percent(
            f"{name}: effects by lot that are found after correction",
            sum(e.found for e in corrected),
            len(corrected),
            "near 0: <= 1 %",
            sum(e.found for e in corrected) <= 0.01 * len(corrected),
        ),
        percent(f"{uncorrected} but placebo", beyond, len(tried), note=f"p <= 0.05 in {len(claimed):,}"),
        percent(
            uncorrected,
            passed,
            len(tried),
            "near 0: <= 2 % of all",
            passed <= 0.02 * len(tried),
        ),
    ]


def by_lot(experiment: Experiment, found: Dissection, draw: int) -> Effects:
    """The effects where lots decide which picture of each pair is the one with the unit set."""
    measured = found.effects.measured
    generator = torch.Generator().manual_seed(derive_seed(draw, "lots"))
    usual, differences = measured.values[:, :1], measured.differences  # (N, 1, K), (N, A - 1, K)
    # One lot for a pair of pictures, whatever is measured of them.
    signs = 2 * torch.randint(0, 2, (*differences.shape[:2], 1), generator=generator).double() - 1
    lots = replace(measured, values=torch.cat([usual, usual + signs * differences], 1))
    rows: list[Row] = [
        (arm.name, paired(column), len(column), "")
        for arm, column in zip(lots.arms[1:], lots.differences.unbind(1), strict=True)
    ]
    return Effects(conclude(experiment, lots, rows, "by lot", found.study.level), lots)


# ------------------------------------------------------------------------------------------------- strokes
def confidence(judge: LeNet) -> Outcome:
    """How sure the judge is of what it reads."""
    return Outcome(f"confidence of {JUDGE}", "probability", "its largest", lambda x: judge(x).amax(1).double())


def strokes(chosen: argparse.Namespace) -> list[Figure]:
    """A set of units that makes strokes thinner, and whether digits stay."""
    judge = load_lenet()
    experiment = Experiment(load(DIGITS).eval(), chosen.seed)
    outcomes = [*find_outcomes(["thickness"], spec=experiment.model.spec), confidence(judge)]
    found = dissect(experiment, outcomes, stages=chosen.stages, value=MEAN, count=chosen.samples)
    chosen_set = control(experiment, found, Aim("thickness", THINNER_PX, outcomes[1].name, WITHIN))
    return of_a_set(chosen_set, fresh_samples(experiment), judge, chosen.samples)


def of_a_set(found: Found, fresh: Experiment, judge: LeNet, count: int) -> list[Figure]:
    """What it does to strokes and to what is read."""
    thickness, sure = found.effects.study.effects
    asked = fresh.condition(range(count)).labels
    assert asked is not None
    before, after = (read(judge, fresh.pictures(Arm("", dos), range(count))) for dos in ((), found.dos))
    kept, kept_before = int((after == asked).sum()), int((before == asked).sum())
    change, changes = mean_interval(((after == asked).double() - (before == asked).double()).mul(100).tolist())
    stages = ", ".join(map(str, found.dos))
    return [
        Figure(
            f"{DIGITS}: change of stroke thickness by a set of {len(found.dos)} units",
            thickness.value,
            "px",
            (thickness.low, thickness.high),
            aim=f"{THINNER_PX:g} px, or more, on other samples",
            met=thickness.value <= THINNER_PX,
            note=f"{thickness.baseline:.2f} px without; {stages}",
        ),
        Figure(
            f"{DIGITS}: read as the digit that was asked for, with the set",
            100 * kept / count,
            "%",
            wilson(kept, count),
            aim="within 2 points of that without",
            met=abs(kept - kept_before) <= 0.02 * count,
            peer="without the set",
            peer_value=100 * kept_before / count,
            peer_spread=wilson(kept_before, count),
            note=f"change {change:+.2f} points ({changes[0]:+.2f} to {changes[1]:+.2f}), the same samples",
        ),
        Figure(f"{DIGITS}: change of the judge's confidence by the set", sure.value, "", (sure.low, sure.high)),
    ]


def read(judge: LeNet, pictures: Tensor) -> Tensor:
    """(N,) digits."""
    with torch.no_grad():
        return torch.cat([judge(part).argmax(1) for part in pictures.split(500)])
