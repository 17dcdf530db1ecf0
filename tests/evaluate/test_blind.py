from __future__ import annotations

import dataclasses
import io
import json
import re
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from pentimento.errors import EvaluationError, ExistsError, InputError, NotFoundError
from pentimento.evaluate import votes as counting
from pentimento.evaluate.blind import write_study
from pentimento.evaluate.intervals import wilson
from pentimento.evaluate.votes import count_votes

NAMES = ("amber-gan", "cobalt-vae")


def pictures(count, value, size=(4, 5)):
    """Each with its number in one corner, so that all differ."""
    made = torch.full((count, 3, *size), value)
    made[:, 0, 0, 0] = torch.arange(count) / 255
    return list(made)


@pytest.fixture
def study(tmp_path):
    return write_study(pictures(20, 0.25), pictures(20, 0.75), NAMES, tmp_path / "study.html", seed=1)


def shown(page):
    """The data inside a page."""
    return json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.S)[1])


def cast(study, path, answers, /, *, ballot="b1", repeats=(), **changes):
    """A votes file. `answers` holds "a", "b" or None for each pair of the key, A on the left in every other one."""
    pairs = json.loads(study.key.read_text())["pairs"]
    record = {"format": "pentimento votes", "version": 1, "study": study.study, "ballot": ballot, "voter": "K. O."}
    cast = [*((i, a, False) for i, a in enumerate(answers)), *((i, a, True) for i, a in repeats)]
    made = []
    for i, answer, repeat in cast:
        left, right = ("a", "b") if (i % 2 == 0) != repeat else ("b", "a")
        choice = "none" if answer is None else "left" if answer == left else "right"
        ids = {"pair": pairs[i]["id"], "left": pairs[i][left], "right": pairs[i][right]}
        made.append({**ids, "choice": choice, "repeat": repeat, "seconds": 1.5})
    record |= {"saved": "2024-01-01T00:00:00Z", "planned": 22, "votes": made, **changes}
    path.write_text(json.dumps(record))
    return path


# ------------------------------------------------------------------------------------------------ the page
def test_a_page_holds_every_picture_and_tells_nothing_of_the_models(tmp_path):
    gray = [p[:1] for p in pictures(8, 0.25)]
    about, question = {"amber-gan": "11" * 32}, "<b>{{study}}</script>?"
    given = {"captions": [f"<{i}>" for i in range(8)], "about": about, "question": question}
    made = write_study(gray, pictures(8, 0.75), NAMES, tmp_path / "s.html", seed=3, **given)
    page, key = made.page.read_text(), json.loads(made.key.read_text())
    assert not [word for word in (*NAMES, *about.values(), "seed", "src=", "http:", "https:", "<b>") if word in page]
    data = shown(page)
    assert data["question"] == question and "<title>&lt;b&gt;{{study}}&lt;/script&gt;?</title>" in page
    assert set(data) == {"study", "question", "repeats", "pairs"}
    assert [set(p) for p in data["pairs"]] == [{"id", "caption", "pictures"}] * 8
    assert data["pairs"] == sorted(data["pairs"], key=lambda p: p["id"])
    sources = {picture["id"]: picture["src"] for pair in data["pairs"] for picture in pair["pictures"]}
    for shown_pair, pair in zip(data["pairs"], key["pairs"], strict=True):
        assert [p["id"] for p in shown_pair["pictures"]] == sorted([pair["a"], pair["b"]])
        assert shown_pair["caption"] == f"<{pair['index']}>"
        for side, value in (("a", 64), ("b", 191)):
            image = Image.open(io.BytesIO(b64decode(sources[pair[side]].removeprefix("data:image/png;base64,"))))
            pixels = np.asarray(image)
            assert (image.mode, image.size, image.info) == ("RGB", (5, 4), {})
            assert pixels[0, 0, 0] == pair["index"]
            assert (pixels[1:] == value).all()
    assert key["names"] == list(NAMES) and key["about"] == about and key["seed"] == 3


def test_ids_depend_on_the_seed_and_order_tells_nothing(tmp_path):
    a_first = 0
    studies = set()
    for seed in range(20):
        made = write_study(pictures(10, 0.2), pictures(10, 0.8), NAMES, tmp_path / f"{seed}.html", seed=seed)
        studies.add(made.study)
        a_first += sum(pair["a"] < pair["b"] for pair in json.loads(made.key.read_text())["pairs"])
    assert len(studies) == 20
    assert stats.binomtest(a_first, 200).pvalue > 0.01


def test_the_same_call_writes_the_same_bytes_and_only_when_asked_to_replace(study):
    again = {"question": "Which picture looks more real?", "seed": 1}
    before = study.page.read_bytes(), study.key.read_bytes()
    for missing in (study.page, study.key):
        other = study.key if missing == study.page else study.page
        kept = missing.read_bytes()
        missing.unlink()
        with pytest.raises(ExistsError, match=f"{other.name}: exists; votes may have been cast"):
            write_study(pictures(20, 0.25), pictures(20, 0.75), NAMES, study.page, **again)
        missing.write_bytes(kept)
    assert write_study(pictures(20, 0.25), pictures(20, 0.75), NAMES, study.page, **again, overwrite=True) == study
    assert (study.page.read_bytes(), study.key.read_bytes()) == before
    assert (study.pairs, study.repeats) == (20, 2)
    assert {p.name for p in study.page.parent.iterdir()} == {"study.html", "study.key.json"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pictures_b": pictures(3, 0.5)}, EvaluationError, "as many of A as of B expected, got 2 and 3"),
        ({"pictures_a": [], "pictures_b": []}, EvaluationError, "at least 1 pair expected, got none"),
        ({"captions": ["one"]}, EvaluationError, "captions: one a pair expected, 2, got 1"),
        ({"pictures_b": pictures(2, 0.5, (4, 6))}, EvaluationError, "pair 0 is 5 x 4 and 6 x 4 px, and the size would"),
        ({"pictures_b": [torch.zeros(4, 4)] * 2}, EvaluationError, r"\(1 or 3, H, W\) expected, pair 0 has \(4, 4\)"),
        ({"pictures_b": [torch.zeros(3, 4, 5).long()] * 2}, EvaluationError, "floats .* got|pair 0 has .*int64"),
        ({"pictures_b": [torch.full((3, 4, 5), torch.nan)] * 2}, EvaluationError, "pair 0 holds NaN or infinity"),
        ({"names": ("x", "x")}, InputError, "names: two different names expected, got 'x' and 'x'"),
        ({"out": "study.txt"}, InputError, "out: a name that ends in .html expected, got .*study.txt"),
        ({"repeat_share": 0.6}, InputError, "repeat_share: 0 to 0.5 expected, got 0.6"),
    ],
)
def test_bad_studies_are_refused_and_nothing_is_written(tmp_path, changes, error, message):
    given = {"pictures_a": pictures(2, 0.2), "pictures_b": pictures(2, 0.8), "names": NAMES, "seed": 0} | changes
    given["out"] = tmp_path / changes.get("out", "study.html")
    with pytest.raises(error, match=message):
        write_study(**given)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------- one voter
def test_one_voter_is_counted_by_wilson_and_the_exact_binomial(study, tmp_path):
    answers = ["a"] * 13 + ["b"] * 4 + [None] * 3
    path = cast(study, tmp_path / "votes.json", answers, repeats=[(0, "a"), (1, "b"), (19, None)])
    result = count_votes([path])  # finds the key beside it
    expected = stats.binomtest(13, 17)
    interval = expected.proportion_ci(method="wilson")
    assert (result.wins_a, result.wins_b, result.ties, result.pairs) == (13, 4, 3, 20)
    assert (result.share.value, result.p_value) == (13 / 17, expected.pvalue)
    assert (result.share.low, result.share.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert (result.effective_votes, result.test) == (17, "exact binomial")
    assert "one voter" in result.interval
    # A stood on the left in every other pair: 7 of the 13 and, being B's, 2 of the 4
    assert result.left.value == 9 / 17
    assert result.left_p_value == stats.binomtest(9, 17).pvalue
    assert (result.repeats, result.consistent) == (3, 2)
    told = json.loads(json.dumps(dataclasses.asdict(result)))
    assert told["names"] == list(NAMES) and told["share"]["low"] == result.share.low
    assert told["voters"] == [
        {"voter": "K. O.", "ballot": "b1", "wins_a": 13, "wins_b": 4, "ties": 3, "share": 13 / 17, "left": 9}
        | {"repeats": 3, "consistent": 2, "median_seconds": 1.5}
    ]


def test_the_key_is_found_beside_the_votes_or_in_the_working_folder_or_named(study, tmp_path, monkeypatch):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "broken.key.json").write_text("{")
    path = cast(study, tmp_path / "downloads" / "votes.json", ["a", "b"])
    monkeypatch.chdir(tmp_path / "downloads")
    with pytest.raises(NotFoundError, match=rf"no \*.key.json of study {study.study} in .*downloads; say where it is"):
        count_votes([path])
    assert count_votes([path], study.key).wins_a == 1
    monkeypatch.chdir(tmp_path)
    assert count_votes([path]).wins_a == 1


# ---------------------------------------------------------------------------------------- several voters
def test_two_voters_who_always_agree_tell_no_more_than_one(study, tmp_path):
    answers = ["a"] * 14 + ["b"] * 6
    files = [cast(study, tmp_path / f"{i}.json", answers, ballot=str(i)) for i in range(2)]
    result = count_votes(files)
    # V_pair = P / (P - 1) P (2 e)^2 / (2 P)^2 with mean e^2 = p q, so n' = n (P - 1) / (n - 1)
    assert result.effective_votes == pytest.approx(40 * 19 / 39)
    assert "clustered by pair; of pictures like these, as these 2 voters see them" in result.interval
    one = count_votes(files[:1])
    assert result.share.low < one.share.low < one.share.high < result.share.high
    assert result.p_value > one.p_value * 0.8


def test_voters_who_are_each_of_one_mind_count_as_votes_of_one_each(study, tmp_path):
    minds = ["a", "a", "a", "b"]
    files = [cast(study, tmp_path / f"{i}.json", [m] * 20, ballot=str(i)) for i, m in enumerate(minds)]
    result = count_votes(files)
    # V_voter = V / (V - 1) V (P e)^2 / (V P)^2 with mean e^2 = p q, so n' = n (V - 1) / (n - 1)
    assert result.effective_votes == pytest.approx(80 * 3 / 79)
    assert result.share.low < 0.15 and result.share.high > 0.95
    assert "clustered by pair and voter; of pictures like these, as voters like these see them" in result.interval
    assert [t.share for t in result.voters] == [1, 1, 1, 0]


def test_votes_that_are_all_alike_still_have_an_interval(study, tmp_path):
    files = [cast(study, tmp_path / f"{i}.json", ["a"] * 20, ballot=str(i)) for i in range(3)]
    result = count_votes(files)
    quantile = stats.t.ppf(0.975, 2)  # three voters
    assert result.share == wilson(1.0, 60, quantile)
    assert result.share.high == 1 and 0.7 < result.share.low < 0.8


def test_the_score_test_and_the_interval_agree():
    rng = np.random.default_rng(0)
    for _ in range(50):
        chances = rng.uniform(0.3, 0.9, (4, 1))
        decided = [(str(v), str(p), int(x)) for (v, p), x in np.ndenumerate(rng.random((4, 12)) < chances)]
        found = counting._infer(decided)
        assert (found.p_value < 0.05) == (not found.share.low <= 0.5 <= found.share.high)


@pytest.mark.parametrize(("voters", "voter_sd", "pair_sd"), [(3, 1.0, 0.5), (6, 0.5, 1.0), (12, 0.0, 1.0), (4, 0, 0)])
def test_the_interval_holds_the_truth_as_often_as_it_says(voters, voter_sd, pair_sd):
    rng = np.random.default_rng(1)
    draws = 0.8 + np.hypot(voter_sd, pair_sd) * rng.standard_normal(400_000)
    truth, held, studies = float(np.mean(1 / (1 + np.exp(-draws)))), 0, 300
    for _ in range(studies):
        logits = 0.8 + voter_sd * rng.standard_normal((voters, 1)) + pair_sd * rng.standard_normal((1, 20))
        voted = rng.random((voters, 20)) < 1 / (1 + np.exp(-logits))
        share = counting._infer([(str(v), str(p), int(x)) for (v, p), x in np.ndenumerate(voted)]).share
        held += share.low <= truth <= share.high
    # 95 % less three standard errors of 300 studies; above, the interval may be cautious
    assert held / studies > 0.95 - 3 * (0.95 * 0.05 / studies) ** 0.5


# ------------------------------------------------------------------------------------------- bad votes
def changed(**changes):
    return lambda study, path: [cast(study, path / "votes.json", ["a", "b"], **changes)]


def written(text):
    def write(study, path):
        (path / "votes.json").write_text(text)
        return [path / "votes.json"]

    return write


def edited(**fields):
    """The second of two votes, changed."""

    def write(study, path):
        file = cast(study, path / "votes.json", ["a", "b"])
        record = json.loads(file.read_text())
        pairs = [vote["pair"] for vote in record["votes"]]
        record["votes"][1] |= {k: v(record["votes"][0]) if callable(v) else v for k, v in fields.items()}
        file.write_text(json.dumps(record))
        assert len(pairs) == 2
        return [file]

    return write


def both(answers=("a",), **changes):
    def write(study, path):
        return [cast(study, path / "1.json", ["a"]), cast(study, path / "2.json", answers, **changes)]

    return write


FIRST = {name: (lambda vote, name=name: vote[name]) for name in ("pair", "left", "right")}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda study, path: [], EvaluationError, "votes: at least one file expected, got none"),
        (lambda study, path: [path / "no.json"], NotFoundError, "no.json: no such file"),
        (lambda study, path: [path], EvaluationError, "cannot be read"),
        (lambda study, path: [study.key], EvaluationError, r"not a votes file \(.* got 'pentimento key'\)"),
        (lambda study, path: [study.page], EvaluationError, r"study.html: not a votes file \(not JSON\)"),
        (written("[" * 100_000), EvaluationError, r"not a votes file \(not JSON\)"),
        (written("[1]"), EvaluationError, "not a votes file .* got None"),
        (changed(votes=[{}]), EvaluationError, r"a damaged votes file \(votes.0.pair: Field required\)"),
        (edited(seconds=-1), EvaluationError, r"a damaged votes file \(votes.1.seconds: "),
        (edited(choice="both"), EvaluationError, r"a damaged votes file \(votes.1.choice: "),
        (
            changed(study="0" * 16),
            EvaluationError,
            "votes on study 0000000000000000, but the key is of study [0-9a-f]{16}",
        ),
        (changed(votes=[]), EvaluationError, "votes: the files hold no votes at all"),
        (edited(pair="f00"), EvaluationError, "vote 2 is on pair f00 of pictures .* does not have"),
        (edited(left="f00"), EvaluationError, "vote 2 is on pair .* of pictures f00 and .* does not have"),
        (edited(**FIRST), EvaluationError, "vote 2, on pair [0-9a-f]{16}, is one too many"),
        (edited(repeat=True), EvaluationError, "vote 2, on pair [0-9a-f]{16}, is a repeat without a first vote"),
        (both(), EvaluationError, "2.json: the same votes as in .*1.json, which would count twice; leave one out"),
        (lambda s, p: both()(s, p)[:1] * 2, EvaluationError, "1.json: the same votes as in .*1.json"),
        (
            both(["a", "b"]),
            EvaluationError,
            "2.json: the same voter's ballot as in .*1.json, .* keep the later",
        ),
        (both([], ballot="b2", study="1"), EvaluationError, "2.json: votes on study 1, but the key is of"),
    ],
)
def test_bad_votes_are_refused_in_one_line(study, tmp_path, make, error, message):
    files = make(study, tmp_path)
    with pytest.raises(error, match=message) as caught:
        count_votes(files, study.key)
    assert "\n" not in str(caught.value)


def test_votes_without_any_preference_give_no_share(study, tmp_path):
    with pytest.raises(EvaluationError, match="all 4 are 'no preference', which gives no share"):
        count_votes([cast(study, tmp_path / "votes.json", [None] * 4)])


def test_a_file_that_is_no_key_is_refused(study, tmp_path):
    votes = cast(study, tmp_path / "votes.json", ["a"])
    with pytest.raises(EvaluationError, match=r"votes.json: not a key file \(.* got 'pentimento votes'\)"):
        count_votes([votes], votes)
