"""The verb `explain debias`: training pictures freed of shortcuts, and what classifiers make of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pentimento.api.explanation import ExplainResult
from pentimento.api.options import Callback, Flag, check_seed, say_licence
from pentimento.errors import ExistsError, InputError
from pentimento.runtime import Progress, ProgressCallback, no_progress

if TYPE_CHECKING:
    from pentimento.studies.debias import Labelled, TestSet

__all__ = ["explain_debias"]

TEST_COUNT = 1000  # of pictures drawn to ask about
TRAINED_ON = ("original", "counterfactual", "both")


def explain_debias(
    *,
    data: str,
    model: str,
    out: Path,
    test: str | None = None,
    count: int = 10_000,
    kimg: float = 60.0,
    seed: int = 0,
    device: str = "auto",
    overwrite: Flag = False,
    progress: Callback = no_progress,
) -> ExplainResult:
    """Write training pictures whose shape alone tells the class, and say what a classifier makes of them.

    A model of family cgn draws pictures whose foreground and background are of other classes than their shape. A
    classifier is trained on original pictures, on counterfactual ones, and on both, and asked about pictures in which
    one factor is randomized while the others agree with the label.

    Args:
        data: Pictures in one folder for each class, or with a metadata.csv that has labels: those of the model.
        model: A run folder, a model folder or a hub id of a model of family cgn, trained on them.
        out: A folder, made here: counterfactual/ with a metadata.csv, classifiers/, report.json and report.html.
        test: Labelled pictures to ask about, whose metadata.csv says of which class foreground and background are;
            counterfactual ones that nothing was trained on, where left out.
        count: Counterfactual pictures to write; and original ones to learn from, at most.
        kimg: Thousands of pictures that each classifier sees.
        seed: Of all randomness.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Replace what an earlier call wrote to OUT.
    """
    from pentimento.capabilities import Composes, require
    from pentimento.models import MODELS, load
    from pentimento.runtime import choose_device
    from pentimento.studies.debias import drawn_tests

    out = Path(out)
    _check_wishes(out, count, kimg, seed, overwrite)
    loaded: Any = load(model, choose_device(device))
    require(loaded, Composes, "explain debias", MODELS)
    say_licence(loaded.origin, progress)
    originals, tests = _originals(loaded, data, count, seed, progress)
    given = [] if test is None else _given(loaded, test, progress)
    tests += given
    about = {"data": data, "test": test, "tests": "drawn", "kimg": kimg, "seed": seed}
    if any(each.factor for each in given):
        about["tests"] = "given"
    else:
        tests += drawn_tests(loaded, min(count, TEST_COUNT), seed + 1)
    return _studied(loaded, originals, tests, count, about, out, overwrite, progress)


# --------------------------------------------------------------------------------------------------- parts
def _check_wishes(out: Path, count: int, kimg: float, seed: int, overwrite: bool) -> None:
    if count < 2:
        raise InputError(f"--count: 2 or more expected, got {count}")
    if not kimg > 0:
        raise InputError(f"--kimg: above 0 expected, got {kimg:g}")
    check_seed(seed)
    if out.exists() and not overwrite:
        raise ExistsError(f"{out}: exists; choose another --out, or --overwrite")
    if out.exists() and not ((out / "report.json").is_file() and (out / "counterfactual" / "metadata.csv").is_file()):
        raise ExistsError(f"{out}: was not written by explain debias, so --overwrite will not touch it")


def _originals(
    model: Any, data: str, count: int, seed: int, progress: ProgressCallback
) -> tuple[Labelled, list[TestSet]]:
    """To learn from; and some held out, to ask about."""
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.studies import debias as studies

    wanted = count + min(studies.MOST_HELD_OUT, max(1, count // 9))
    dataset = pack(open_source(data), progress=progress)
    originals, held_out = studies.split(studies.read_labelled(model, dataset, "--data", wanted), seed)
    return originals, [held_out]


def _given(model: Any, test: str, progress: ProgressCallback) -> list[TestSet]:
    """Pictures of the user's to ask about, by what is randomized in them; as they are, where nobody says."""
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.studies import debias as studies

    factors = model.mechanisms[1:]
    pictures = studies.read_labelled(model, pack(open_source(test), progress=progress), "--test")
    if found := studies.given_tests(pictures, factors):
        return found
    message = (
        f"the metadata of {test} have no column {' or '.join(factors)}: what is randomized in it is unknown, and "
        "counterfactual pictures are asked about beside it"
    )
    progress(Progress("test", 0, message=message))
    return [studies.TestSet("pictures of --test", pictures)]


def _studied(
    model: Any,
    originals: Labelled,
    tests: list[TestSet],
    count: int,
    about: dict[str, Any],
    out: Path,
    overwrite: bool,
    progress: ProgressCallback,
) -> ExplainResult:
    import json
    import shutil

    from pentimento.runtime import atomic_folder
    from pentimento.studies import debias as studies
    from pentimento.studies import debias_page as page

    seed, spec = about["seed"], model.spec
    free = model.mechanisms[1:]
    with atomic_folder(out, replace=overwrite) as made:
        drawn = studies.draw(model, studies.balanced(model, count, seed, free), seed, progress)
        (made / "counterfactual").mkdir()
        studies.write_counterfactuals(made / "counterfactual", model, drawn, seed)
        recipe, classifiers = studies.make_recipe(spec, about["kimg"], seed), {}
        for name, parts in zip(TRAINED_ON, ([originals], [drawn], [originals, drawn]), strict=True):
            work = made / ".work" / name
            classifiers[name] = studies.train_on(parts, spec, recipe, work, progress)
            shutil.copytree(work / "run" / "model", made / "classifiers" / name)
        shutil.rmtree(made / ".work")
        scores = studies.compare(classifiers, tests, spec.classes)
        report = page.to_json(model, scores, {**about, "originals": len(originals), "counterfactuals": count})
        (made / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page.write_page(made / "report.html", scores, page.mechanism_sheets(model, seed), report)
    legend = f"Shares with their 95 % intervals (Wilson), by what was learned from. {page.MEASURED[about['tests']]}"
    files = [out / name for name in ("report.json", "report.html", "counterfactual", "classifiers")]
    return ExplainResult(page.score_table(scores), legend, report, files)
