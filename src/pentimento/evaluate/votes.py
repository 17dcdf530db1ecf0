"""Counting the votes of a blind study: the share that prefers one model, its interval, and how far to trust the voters.

    n -> decided votes      p -> share of them for A      e -> a vote less the share: 1 - p for A, -p for B
    V_x -> variance of p where votes on the same x hang together:  G / (G - 1)  sum over x (sum of its e)^2 / n^2
    V -> V_voter + V_pair - V_vote, but no less than any one of the three; V_vote = p (1 - p) / (n - 1)
    n' -> n V_vote / V: independent votes that would tell as much
    d -> V^2 / sum of V_x^2 / (G_x - 1), but no less than the smallest G_x - 1: degrees of freedom (Satterthwaite 1946)

V is the two-way cluster variance of Cameron, Gelbach and Miller (2011), and the interval Wilson's (1927) at n' votes,
as Franco, Little, Louis and Slud (2019) recommend, with Student's quantile. Ties ("no preference") are left out of
the share and told apart.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError
from scipy import stats

from pentimento.errors import EvaluationError, NotFoundError
from pentimento.evaluate.blind import KEY_SUFFIX, Key, Record
from pentimento.evaluate.intervals import Estimate, wilson

__all__ = ["Preference", "VoterTally", "count_votes"]

File = TypeVar("File", bound=Record)


@dataclass(frozen=True)
class VoterTally:
    """What one voter said. Second showings count in `repeats` and `consistent` alone.

    Args:
        voter: name or initials, as given; may be empty.
        ballot: random, the voter's own.
        wins_a: pairs in which the first model was preferred.
        wins_b: pairs in which the second was.
        ties: pairs without a preference.
        share: of `wins_a` in decided votes; None where there are none.
        left: decided votes for the picture on the left.
        repeats: pairs voted on twice.
        consistent: those of them that got the same answer both times.
        median_seconds: a vote took.
    """

    voter: str
    ballot: str
    wins_a: int
    wins_b: int
    ties: int
    share: float | None
    left: int
    repeats: int
    consistent: int
    median_seconds: float


@dataclass(frozen=True)
class Preference:
    """How much people prefer the first model over the second; ``dataclasses.asdict`` makes JSON of it.

    Args:
        study: id.
        names: of the two models.
        question: that was asked.
        share: of decided votes for the first model, with its 95 % interval.
        interval: how that was made, and of whom it speaks.
        effective_votes: independent votes that would tell as much, see the module.
        p_value: two-sided, of no preference (share 1/2).
        test: that gave it.
        wins_a: votes for the first model.
        wins_b: votes for the second.
        ties: votes without a preference; not in `share`.
        pairs: different ones that got a vote.
        left: share of decided votes for the left picture (the upper one on a narrow screen), with Wilson's interval.
        left_p_value: exact, of no pull to either side. Sides are dealt by fair coins, so votes are independent here.
        repeats: pairs shown again with their sides swapped, over all voters.
        consistent: those that got the same answer both times.
        voters: one by one.
        about: what the key says of the models, e.g. the SHA-256 of their weights.
    """

    study: str
    names: tuple[str, str]
    question: str
    share: Estimate
    interval: str
    effective_votes: float
    p_value: float
    test: str
    wins_a: int
    wins_b: int
    ties: int
    pairs: int
    left: Estimate
    left_p_value: float
    repeats: int
    consistent: int
    voters: tuple[VoterTally, ...]
    about: Mapping[str, str]


class _Vote(Record):
    pair: str
    left: str
    right: str
    choice: Literal["left", "right", "none"]
    repeat: bool
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @property
    def chosen(self) -> str | None:
        """Id of the preferred picture."""
        return {"left": self.left, "right": self.right, "none": None}[self.choice]


class _Ballot(Record):
    format: Literal["pentimento votes"]
    version: Literal[1]
    study: str
    ballot: str
    voter: str
    saved: str
    planned: int
    votes: list[_Vote]


# -------------------------------------------------------------------------------------- counting the votes
def count_votes(votes: Sequence[Path], key: Path | None = None) -> Preference:
    """The preference in one or several votes files, one a voter.

    The interval speaks of pictures like these. It speaks of voters like these from three voters on; of one voter or
    two it takes the judgement as it is. In simulated studies of 3 to 20 voters on 20 to 100 pairs it held the truth in
    93 to 99 % of cases, where Wilson's interval over all votes held it in 35 to 96 %.

    Args:
        votes: files that the page made.
        key: of the study; None looks beside the votes files and in the working folder.

    Raises:
        NotFoundError: no such file, or no key in the folders that were looked through.
        EvaluationError: not a votes file or a key, votes of another study, unknown or repeated ids, two files of one
            ballot, no votes at all, or none that prefers a picture.
    """
    ballots = _read_ballots(votes)
    used = _find_key(votes, ballots[0].study) if key is None else _read(key, Key, "key")
    for path, ballot in zip(votes, ballots, strict=True):
        if ballot.study != used.study:
            raise EvaluationError(f"{path}: votes on study {ballot.study}, but the key is of study {used.study}")
        _check_votes(path, ballot, used)
    sides = {i: side for pair in used.pairs for i, side in ((pair.a, 1), (pair.b, 0))}
    first = [(b.ballot, vote) for b in ballots for vote in b.votes if not vote.repeat]
    decided = [(voter, vote.pair, sides[vote.chosen]) for voter, vote in first if vote.chosen is not None]
    if not first:
        raise EvaluationError("votes: the files hold no votes at all")
    if not decided:
        raise EvaluationError(f"votes: all {len(first)} are 'no preference', which gives no share; ask more voters")
    wins, n, left = sum(won for *_, won in decided), len(decided), sum(vote.choice == "left" for _, vote in first)
    inference = _infer(decided)
    tallies = tuple(_tally(ballot, sides) for ballot in ballots)
    return Preference(
        study=used.study,
        names=used.names,
        question=used.question,
        share=inference.share,
        interval=inference.interval,
        effective_votes=inference.effective_votes,
        p_value=inference.p_value,
        test=inference.test,
        wins_a=wins,
        wins_b=n - wins,
        ties=len(first) - n,
        pairs=len({vote.pair for _, vote in first}),
        left=wilson(left / n, n, float(stats.norm.ppf(0.975))),
        left_p_value=float(stats.binomtest(left, n).pvalue),
        repeats=sum(tally.repeats for tally in tallies),
        consistent=sum(tally.consistent for tally in tallies),
        voters=tallies,
        about=used.about,
    )


def _tally(ballot: _Ballot, sides: Mapping[str, int]) -> VoterTally:
    first = {vote.pair: vote for vote in ballot.votes if not vote.repeat}
    again = [vote for vote in ballot.votes if vote.repeat]
    decided = [(sides[vote.chosen], vote.choice) for vote in first.values() if vote.chosen is not None]
    wins = sum(won for won, _ in decided)
    return VoterTally(
        voter=ballot.voter,
        ballot=ballot.ballot,
        wins_a=wins,
        wins_b=len(decided) - wins,
        ties=len(first) - len(decided),
        share=wins / len(decided) if decided else None,
        left=sum(choice == "left" for _, choice in decided),
        repeats=len(again),
        consistent=sum(vote.chosen == first[vote.pair].chosen for vote in again),
        median_seconds=statistics.median(vote.seconds for vote in ballot.votes) if ballot.votes else 0.0,
    )


# ------------------------------------------------------------------------------------- reading the files
def _read_ballots(paths: Sequence[Path]) -> list[_Ballot]:
    """One a file, and no voter's twice."""
    if not paths:
        raise EvaluationError("votes: at least one file expected, got none")
    ballots = [_read(path, _Ballot, "votes") for path in paths]
    seen: dict[str, Path] = {}
    for path, ballot in zip(paths, ballots, strict=True):
        if ballot.ballot in seen:
            other = seen[ballot.ballot]
            same = other.read_bytes() == path.read_bytes()
            what, hint = (
                ("the same votes", "leave one out") if same else ("the same voter's ballot", "keep the later one")
            )
            raise EvaluationError(f"{path}: {what} as in {other}, which would count twice; {hint}")
        seen[ballot.ballot] = path
    return ballots


def _read(path: Path, kind: type[File], noun: str) -> File:
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{path}: not a {noun} file (not JSON)") from error
    said = content.get("format") if isinstance(content, dict) else None
    if said != f"pentimento {noun}":
        raise EvaluationError(f"{path}: not a {noun} file (format: 'pentimento {noun}' expected, got {said!r})")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise EvaluationError(f"{path}: a damaged {noun} file ({where}: {problem['msg']})") from error


def _find_key(votes: Sequence[Path], study: str) -> Key:
    """The key of `study` beside the votes or in the working folder."""
    folders = dict.fromkeys([*(path.parent.resolve() for path in votes), Path.cwd()])
    for path in (path for folder in folders for path in sorted(folder.glob(f"*{KEY_SUFFIX}"))):
        with contextlib.suppress(EvaluationError):
            key = _read(path, Key, "key")
            if key.study == study:
                return key
    looked = ", ".join(map(str, folders))
    raise NotFoundError(f"key: no *{KEY_SUFFIX} of study {study} in {looked}; say where it is with key")


def _check_votes(path: Path, ballot: _Ballot, key: Key) -> None:
    """Each vote is on a pair of `key`, and each pair has one vote, and one more where it was repeated."""
    pictures = {pair.id: {pair.a, pair.b} for pair in key.pairs}
    seen: set[tuple[str, bool]] = set()
    for number, vote in enumerate(ballot.votes, 1):
        if pictures.get(vote.pair) != {vote.left, vote.right}:
            ids = f"pair {vote.pair} of pictures {vote.left} and {vote.right}"
            raise EvaluationError(f"{path}: vote {number} is on {ids}, which study {key.study} does not have")
        if (vote.pair, vote.repeat) in seen or (vote.repeat and (vote.pair, False) not in seen):
            problem = "a repeat without a first vote" if (vote.pair, False) not in seen else "one too many"
            raise EvaluationError(f"{path}: vote {number}, on pair {vote.pair}, is {problem}")
        seen.add((vote.pair, vote.repeat))


# ----------------------------------------------------------------------------------------- the statistics
@dataclass(frozen=True)
class _Inference:
    share: Estimate
    interval: str
    effective_votes: float
    p_value: float
    test: str


def _infer(decided: Sequence[tuple[str, str, int]]) -> _Inference:
    """Of decided votes (voter, pair, 1 for A or 0); see the module."""
    n = len(decided)
    voters, pairs, won = zip(*decided, strict=True)
    p = sum(won) / n
    if len(set(voters)) == 1:
        interval = "Wilson; of pictures like these, as this one voter sees them"
        exact = float(stats.binomtest(sum(won), n).pvalue)
        return _Inference(wilson(p, n, float(stats.norm.ppf(0.975))), interval, float(n), exact, "exact binomial")
    ways = {"pair": pairs} if len(set(pairs)) > 1 else {}
    ways |= {"voter": voters} if len(set(voters)) > 2 else {}
    errors = [w - p for w in won]
    sizes = [len(set(clusters)) for clusters in ways.values()]
    parts = [_cluster_variance(clusters, errors) for clusters in ways.values()]
    by_vote = p * (1 - p) / (n - 1)
    both = sum(parts) - by_vote if len(parts) == 2 else 0.0
    variance = max(by_vote, *parts, both)
    spread = sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    least = min(sizes, default=n) - 1
    freedom = min(max(variance**2 / spread, least), n - 1) if spread else least
    effective = n * by_vote / variance if variance else float(n)  # all alike: n, as Korn and Graubard (1998)
    pictures = "pictures like these" if "pair" in ways else "this pair of pictures"
    people = "voters like these" if "voter" in ways else f"these {len(set(voters))} voters"
    how = f"Wilson at the effective number of votes, Student's t with {freedom:.1f} degrees of freedom"
    return _Inference(
        share=wilson(p, effective, float(stats.t.ppf(0.975, freedom))),
        interval=f"{how}, clustered by {' and '.join(ways) or 'nothing'}; of {pictures}, as {people} see them",
        effective_votes=effective,
        p_value=float(2 * stats.t.sf(abs(p - 0.5) / math.sqrt(0.25 / effective), freedom)),
        test="score at the effective number of votes, Student's t",
    )


def _cluster_variance(clusters: Sequence[str], errors: Sequence[float]) -> float:
    """Of the mean of the votes: V_x of the module, for two or more clusters."""
    sums: defaultdict[str, float] = defaultdict(float)
    for cluster, error in zip(clusters, errors, strict=True):
        sums[cluster] += error
    return len(sums) / (len(sums) - 1) * sum(s**2 for s in sums.values()) / len(errors) ** 2
