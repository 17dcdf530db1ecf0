"""What can be measured, by name: each entry of `METRICS` takes a subject and gives numbers with their protocol.

A measure that a subject does not allow (a likelihood of a GAN) is left out, unless it was asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from pentimento import images
from pentimento.capabilities import Predicts, Samples, Scores
from pentimento.data.dataset import PackedDataset
from pentimento.data.fit import to_planes
from pentimento.errors import EvaluationError, suggest
from pentimento.evaluate.call import Better, Call, Found, Settings
from pentimento.evaluate.copying import generalization_gap, memorization, pixel_features, worst_pairs
from pentimento.evaluate.cost import model_cost
from pentimento.evaluate.coverage import birthday, label_histogram, modes
from pentimento.evaluate.distances import frechet, inception_score, kernel_distance
from pentimento.evaluate.intervals import GROUPS, Estimate, mean_estimate
from pentimento.evaluate.likelihood import MARGINAL, log_likelihoods
from pentimento.evaluate.neighbours import neighbours
from pentimento.evaluate.pairs import diversity, fidelity
from pentimento.evaluate.pictures import Pictures, Reference, Subject, condition_for
from pentimento.evaluate.records import Option

__all__ = ["METRICS", "check_metrics", "measure"]

NEAREST = 5  # k of precision, recall, density and coverage (Naeem et al. 2020)
WORST = 16  # pairs of samples and training pictures that are shown


# ------------------------------------------------------------------------------------------- distributions
def _frechet(call: Call) -> Found:
    real, network = call.real.pictures, call.settings.network
    found = frechet(call.vectors(call.subject.pictures), call.vectors(real), call.settings.seed)
    return Found([call.metric("frechet", found, "lower", against=real, seen_through=network)])


def _kid(call: Call) -> Found:
    real, network = call.real.pictures, call.settings.network
    found = kernel_distance(call.vectors(call.subject.pictures), call.vectors(real), call.settings.seed)
    return Found([call.metric("kid", found, "lower", against=real, seen_through=network)])


def _precision_recall(call: Call) -> Found:
    real, network, k = call.real.pictures, call.settings.network, NEAREST
    found = neighbours(call.vectors(call.subject.pictures), call.vectors(real), k, call.settings.seed)
    named = {name: getattr(found, name) for name in ("precision", "recall", "density", "coverage")}
    return Found(
        [call.metric(n, e, "higher", against=real, seen_through=network, options={"k": k}) for n, e in named.items()]
    )


def _inception_score(call: Call) -> Found:
    network = call.settings.network
    probabilities = call.subject.pictures.features(network, call.settings.progress).probabilities
    if probabilities is None:
        raise EvaluationError(f"inception-score: {network.name} does not classify; use --features of one that does")
    found = inception_score(probabilities, seed=call.settings.seed)
    return Found([call.metric("inception-score", found, "higher", seen_through=network)])


def _diversity(call: Call) -> Found:
    metrics = []
    sets = {"diversity": call.subject.pictures}
    if call.reference is not None:
        sets["diversity of real pictures"] = call.reference.pictures
    for name, pictures in sets.items():
        some = pictures.some(4000)
        found = diversity(some.floats(), None, len(some) // 2, call.settings.seed)
        note = "mean MS-SSIM of pairs: 1 where all are alike"
        metrics.append(call.metric(name, found, count=len(some), note=note))
    return Found(metrics)


# ---------------------------------------------------------------------------------------- modes and copying
def _labels(call: Call) -> Found:
    judge, pictures, seed = call.settings.classifier, call.subject.pictures, call.settings.seed
    assert judge is not None  # see `check_metrics`

    def seen(those: Pictures) -> Tensor:
        probabilities = those.features(judge, call.settings.progress).probabilities
        if probabilities is None:
            raise EvaluationError(f"labels: {judge.name} does not classify; give --classifier one that does")
        return probabilities.argmax(1)

    labels, metrics = seen(pictures), []
    model, asked = call.subject.model, pictures.condition.labels
    if model is not None and model.config.get("conditional") and asked is not None:
        names = judge.classes or pictures.spec.classes  # a judge without names has them in the model's order
        unknown = [name for name in pictures.spec.classes if name not in names]
        if unknown:
            raise EvaluationError(f"--classifier: {judge.name} does not know the class {unknown[0]!r} of the samples")
        place = torch.tensor([names.index(name) for name in pictures.spec.classes])
        agree = mean_estimate((labels == place[asked]).double(), seed)
        metrics.append(call.metric("label agreement", agree, "higher", seen_through=judge))
    real = call.real.pictures
    probabilities = real.features(judge).probabilities
    assert probabilities is not None
    names = judge.classes or tuple(str(k) for k in range(probabilities.shape[1]))
    shares = torch.bincount(seen(real), minlength=len(names)).double()
    shares = (shares + 0.5) / (shares + 0.5).sum()  # so that a class that no real picture has costs a finite KL
    covered = modes(labels, shares, seed)
    metrics.append(
        call.metric("modes", covered.covered, "higher", unit=f"of {covered.classes}", against=real, seen_through=judge)
    )
    metrics.append(call.metric("KL of labels", covered.kl, "lower", unit="nats", against=real, seen_through=judge))
    for row in label_histogram(labels, shares, names):
        note = f"{row.reference:.4f} of the real pictures"
        metrics.append(call.metric(f"share of {row.name}", row.share, against=real, note=note, seen_through=judge))
    return Found(metrics)


def _birthday(call: Call) -> Found:
    real, network = call.real.pictures, call.settings.network
    size = min(len(call.subject.pictures), len(real)) // 20
    if size < 2:
        raise EvaluationError("birthday: 40 samples and 40 real pictures or more expected")
    found = birthday(call.vectors(call.subject.pictures), call.vectors(real), size, call.settings.seed, WORST)
    shown = call.subject.pictures.floats(found.pairs.flatten())
    note = f"twins in {found.duplicates.value:.0%} of batches of {size}; {found.false_alarms:.0%} by chance"
    metric = call.metric(
        "support size", found.support, "higher", against=real, seen_through=network, note=note, options={"batch": size}
    )
    return Found([metric], {"nearest pairs of samples": images.grid(shown, columns=8)})


def _memorization(call: Call) -> Found:
    real, pictures, seed = call.real, call.subject.pictures, call.settings.seed
    _check_held_out(call)
    metrics, sheets = [], {}
    network = call.settings.network
    unseen: dict[str, Option] = {"held_out": real.held_out.content_hash, "held_out_count": len(real.held_out)}
    spaces = {"pixels": lambda p: pixel_features(p.floats()), "features": call.vectors}
    for space, vectors in spaces.items():
        through = network if space == "features" else None
        found = memorization(vectors(pictures), vectors(real.held_out), vectors(real.training), seed)
        note = f"{found.null_share:.0%} without copying; held-out: {len(real.held_out)} pictures"
        for name, estimate, said in (
            (f"memorization, {space}", found.share, note),
            (f"nearer than held-out, {space}", found.rank, "0.5 without copying"),
        ):
            # Neither way is better: samples farther than held-out pictures are no copies, but do not look real either.
            row: dict[str, Any] = {"against": real.training, "seen_through": through, "note": said, "options": unseen}
            metrics.append(call.metric(name, estimate, **row))
        caption = f"samples (left) nearest to training pictures (right), by {space}"
        sheets[caption] = worst_pairs(pictures.images, real.training.images, found, WORST)
    return Found(metrics, sheets)


# -------------------------------------------------------------------------------------- likelihood and pairs
def _likelihood(call: Call) -> Found:
    model, real, settings = call.subject.model, call.real, call.settings
    if not isinstance(model, Scores):
        raise EvaluationError(f"likelihood: {call.subject.name} cannot tell how likely a picture is; vae and cnn can")
    _check_held_out(call)
    shares = None
    if model.config.get("conditional"):
        labels = condition_for(model, real.training).labels
        assert labels is not None
        shares = torch.bincount(labels, minlength=len(model.spec.classes)).double()
        shares /= shares.sum()
    parts = {"held-out": real.held_out.some(settings.scored), "training": real.training.some(settings.scored)}
    scores = {
        name: log_likelihoods(
            model,
            part,
            settings.importance_samples,
            settings.seed,
            shares if name == "held-out" else None,  # the gap takes what the model says given the label
            settings.progress,
        )
        for name, part in parts.items()
    }
    metrics, held_out = [], parts["held-out"]
    told = [*(["label"] if shares is not None else []), *model.config.get("attributes", ())]
    for name, values in scores["held-out"].items():
        marginal = name.endswith(MARGINAL)
        options: dict[str, Option] = {
            "pixels": str(getattr(model, "likelihood", "")),
            "told": ", ".join(told[1:] if marginal else told) or "nothing",
        }
        if not name.startswith("log_likelihood"):
            options["importance_samples"] = settings.importance_samples
        row: dict[str, Any] = {"unit": "nats", "against": held_out, "count": len(values)}
        metrics.append(call.metric(name, mean_estimate(values, settings.seed), "higher", options=options, **row))
        if not marginal:
            train = scores["training"][name]
            gap = generalization_gap(train, values, settings.seed)
            note = "training less held-out pictures: above 0 where the training pictures are known better"
            options = {**options, "training_count": len(train)}
            metrics.append(call.metric(f"{name}, gap", gap, "lower", note=note, options=options, **row))
    return Found(metrics)


def _check_held_out(call: Call) -> None:
    there = call.real.held_out_count
    if there < GROUPS:
        raise EvaluationError(
            f"{call.name}: {GROUPS} held-out pictures or more are needed, and there are {there}; give data with a test "
            "split, or more of it"
        )


def _fidelity(call: Call) -> Found:
    ours, theirs = call.subject.dataset, call.real.dataset
    if ours is None:
        raise EvaluationError(
            f"fidelity: {call.subject.name} is a model; give a folder of pictures, one for each of --data"
        )
    rows, partners = ({str(PurePath(n).with_suffix("")): i for i, n in enumerate(d.names)} for d in (ours, theirs))
    alone = sorted(rows.keys() ^ partners.keys())
    if alone:
        raise EvaluationError(
            f"fidelity: {len(alone)} pictures have no partner, {alone[0]} for one; the two of a pair have the same name"
        )

    def one(dataset: PackedDataset, row: int) -> Tensor:
        return to_planes(dataset.pixels(row)[None], dataset.full_scale)

    pairs = ((one(ours, row), one(theirs, partners[name])) for name, row in rows.items())
    found = fidelity(pairs, call.settings.seed)
    named = {"PSNR": (found.psnr_db, "dB"), "SSIM": (found.ssim, ""), "MS-SSIM": (found.ms_ssim, "")}
    return Found(
        [call.metric(n, e, "higher", unit=unit, against=theirs, count=len(rows)) for n, (e, unit) in named.items()]
    )


def _accuracy_score(call: Call) -> Found:
    train, real = call.settings.train_classifier, call.real
    told = call.subject.model is None or bool(call.subject.model.config.get("conditional"))
    labelled = call.subject.pictures.condition.labels is not None and real.held_out.condition.labels is not None
    if train is None or not told or not labelled:
        raise EvaluationError("accuracy-score: needs samples that were asked for by label, and labelled real pictures")
    right = train(call.subject.pictures, real.held_out)
    found = mean_estimate(right.double(), call.settings.seed)
    note = "a classifier that saw only samples, on held-out real pictures"
    return Found([call.metric("accuracy-score", found, "higher", against=real.held_out, note=note)])


def _cost(call: Call) -> Found:
    model = call.subject.model
    if model is None or not isinstance(model, Samples | Predicts):
        raise EvaluationError(f"cost: {call.subject.name} does not run; give a model")
    cost = model_cost(model)

    def exactly(value: float) -> Estimate:
        return Estimate(float(value), float(value), float(value))

    def in_ms(seconds: Estimate) -> Estimate:
        return Estimate(seconds.value * 1e3, seconds.low * 1e3, seconds.high * 1e3)

    where: dict[str, Option] = {"device": cost.device, "threads": cost.threads}
    rows: list[tuple[str, Estimate, str, Better]] = [
        ("parameters", exactly(cost.parameters), "", "lower"),
        ("multiply-adds of a picture", exactly(cost.multiply_adds), "", "lower"),
        ("latency of one picture", in_ms(cost.latency_seconds), "ms", "lower"),
        (f"latency of {cost.batch} pictures", in_ms(cost.batch_seconds), "ms", "lower"),
        (f"pictures per second, {cost.batch} at a time", cost.pictures_per_second, "1/s", "higher"),
    ]
    if cost.peak_memory_bytes is not None:
        rows.append(("peak memory", exactly(cost.peak_memory_bytes / 2**20), "MiB", "lower"))
    return Found([call.metric(n, e, better, unit=unit, count=cost.batch, options=where) for n, e, unit, better in rows])


METRICS: Mapping[str, Callable[[Call], Found]] = {
    "frechet": _frechet,
    "kid": _kid,
    "precision-recall": _precision_recall,
    "inception-score": _inception_score,
    "diversity": _diversity,
    "labels": _labels,
    "birthday": _birthday,
    "memorization": _memorization,
    "likelihood": _likelihood,
    "fidelity": _fidelity,
    "accuracy-score": _accuracy_score,
    "cost": _cost,
}
WITHOUT_DATA = {"inception-score", "diversity", "cost"}


# ------------------------------------------------------------------------------------------------- together
def check_metrics(names: Sequence[str], *, with_data: bool, with_classifier: bool) -> None:
    """Refuse what cannot be measured whatever the subject, before anything is drawn.

    Raises:
        EvaluationError: an unknown name, with its neighbours; a measure that needs what is not there.
    """
    for name in names:
        if name not in METRICS:
            raise EvaluationError(f"--metrics: unknown {name!r}; {suggest(name, METRICS)}")
        if not with_data and name not in WITHOUT_DATA:
            raise EvaluationError(f"{name}: needs real pictures to hold samples against; give --data")
        if not with_classifier and name == "labels":
            raise EvaluationError("labels: needs a judge of what samples show; give --classifier MODEL")


def _usual(subject: Subject, reference: Reference | None, settings: Settings) -> list[str]:
    """What is measured where nothing was asked for: all that applies and takes no training."""
    model, real = subject.model, reference is not None
    held_out = reference is not None and reference.held_out_count >= GROUPS
    told = model is not None and bool(model.config.get("conditional") or model.config.get("attributes"))
    known = not told or (reference is not None and bool(reference.dataset.classes or reference.dataset.attributes))
    applies = {
        "frechet": real,
        "kid": real,
        "precision-recall": real,
        "labels": real and settings.classifier is not None,
        "memorization": held_out,
        "likelihood": held_out and known and isinstance(model, Scores),
        "diversity": True,
        "cost": model is not None,
    }
    return [name for name, does in applies.items() if does]


def measure(subject: Subject, reference: Reference | None, settings: Settings, names: Sequence[str] = ()) -> Found:
    """All numbers of one subject.

    Args:
        subject: a model's samples, or a folder of pictures.
        reference: real pictures, or None.
        settings: shared by all subjects that are to be compared.
        names: of `METRICS`; none takes what applies and takes no training.

    Raises:
        EvaluationError: an unknown name, a measure that the subject, the pictures or their number do not allow.
    """
    check_metrics(names, with_data=reference is not None, with_classifier=settings.classifier is not None)
    everything = Found()
    for name in names or _usual(subject, reference, settings):
        found = METRICS[name](Call(name, subject, reference, settings))
        everything.metrics += found.metrics
        everything.sheets |= found.sheets
    return everything
