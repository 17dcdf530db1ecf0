"""Which of two models people prefer, asked blind: the page with the pictures, and its key. `votes` counts the answers.

A study is two files. The page goes to the voters and tells nothing of the models; the key stays at home. A voter sees
each pair once, in an order and on sides of the voter's own, and some pairs twice with their sides swapped.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pentimento.errors import EvaluationError, ExistsError, InputError
from pentimento.runtime import atomic_write, derive_seed

__all__ = ["KEY_SUFFIX", "Key", "Pair", "Record", "Study", "write_study"]

_PAGE = Path(__file__).with_name("blind.html")
KEY_SUFFIX = ".key.json"


@dataclass(frozen=True)
class Study:
    """A study that was written.

    Args:
        page: for the voters.
        key: to keep from them.
        study: its id, which every votes file carries.
        pairs: different ones.
        repeats: pairs that every voter sees a second time.
    """

    page: Path
    key: Path
    study: str
    pairs: int
    repeats: int


# ------------------------------------------------------------------------------------------------ files
class Record(BaseModel):
    """A file, or a part of one: what is unknown, missing or of another type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Pair(Record):
    """Ids of a pair and of its two pictures; `index` is its place in what `write_study` was given."""

    id: str
    a: str
    b: str
    index: int
    caption: str


class Key(Record):
    """The key of a study, see `write_study`."""

    format: Literal["pentimento key"] = "pentimento key"
    version: Literal[1] = 1
    study: str
    names: tuple[str, str]
    question: str
    seed: int
    repeats: int
    about: dict[str, str]
    pairs: list[Pair]


# ---------------------------------------------------------------------------------------- writing a study
def write_study(
    pictures_a: Sequence[Tensor],
    pictures_b: Sequence[Tensor],
    names: tuple[str, str],
    out: Path,
    *,
    question: str = "Which picture looks more real?",
    captions: Sequence[str] | None = None,
    seed: int,
    repeat_share: float = 0.1,
    about: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Study:
    """Write the page `out` and its key, ``<stem of out>.key.json`` beside it. The same call writes the same bytes.

    The page needs no network and opens from a file. Nothing in it says which picture is whose: ids come from a hash
    over all that is given here, pairs and pictures stand in the order of their ids, and every picture is RGB, without
    metadata. Somebody who knows `seed`, `names` and `about` can work the key out; give `about` the hashes of weights
    that voters do not have.

    Args:
        pictures_a: of the first model, each (C, H, W) in [0, 1], C = 1 or 3, clamped and rounded to 8 bit.
        pictures_b: of the second; picture i is shown beside picture i of the first, and has its size.
        names: of the two models; they go into the key alone.
        out: name of the page, ``.html``.
        question: the voters are asked.
        captions: shown with each pair, e.g. the label that both were made for; empty for none.
        seed: of the ids.
        repeat_share: of the pairs that each voter sees twice, 0 to 0.5.
        about: of the models, for the key, e.g. name -> SHA-256 of the weights.
        overwrite: replace a study that stands there; votes on it can then no longer be counted.

    Raises:
        EvaluationError: not as many pictures of one as of the other, none, or pictures that cannot be shown as a pair.
        InputError: `names` that are empty or alike, another suffix, or `repeat_share` out of range.
        ExistsError: the page or the key exists.
        StorageError: the disk is full or refuses.
    """
    texts = [""] * len(pictures_a) if captions is None else list(captions)
    _check_options(names, out, repeat_share)
    _check_pictures(pictures_a, pictures_b, texts)
    key_path = out.with_name(out.stem + KEY_SUFFIX)
    for path in (out, key_path):
        if path.exists() and not overwrite:
            raise ExistsError(f"{path}: exists; votes may have been cast on it, so choose another name, or overwrite")
    files = [[_png(picture) for picture in pictures] for pictures in (pictures_a, pictures_b)]
    content = hashlib.sha256(b"".join(hashlib.sha256(file).digest() for side in files for file in side)).hexdigest()
    secret = derive_seed(seed, json.dumps([names, question, texts, repeat_share, dict(about or {})]), content)

    def name(*parts: object) -> str:
        return f"{derive_seed(secret, *parts):016x}"

    pairs = [
        Pair(id=name("pair", i), a=name("a", i), b=name("b", i), index=i, caption=text) for i, text in enumerate(texts)
    ]
    pairs.sort(key=lambda pair: pair.id)
    repeats = min(math.floor(repeat_share * len(pairs) + 0.5), len(pairs) // 2)
    key = Key(
        study=name("study"),
        names=names,
        question=question,
        seed=seed,
        repeats=repeats,
        about=dict(about or {}),
        pairs=pairs,
    )
    with atomic_write(key_path) as temporary:  # first: a page without its key is worth nothing
        temporary.write_text(key.model_dump_json(indent=1) + "\n", encoding="utf-8")
    with atomic_write(out) as temporary:
        temporary.write_text(_page(key, files), encoding="utf-8")
    return Study(out, key_path, key.study, len(pairs), repeats)


def _check_options(names: tuple[str, str], out: Path, repeat_share: float) -> None:
    if not all(names) or names[0] == names[1]:
        raise InputError(f"names: two different names expected, got {names[0]!r} and {names[1]!r}")
    if out.suffix.lower() != ".html":
        raise InputError(f"out: a name that ends in .html expected, got {out}")
    if not 0 <= repeat_share <= 0.5:
        raise InputError(f"repeat_share: 0 to 0.5 expected, got {repeat_share}")


def _check_pictures(pictures_a: Sequence[Tensor], pictures_b: Sequence[Tensor], captions: Sequence[str]) -> None:
    if len(pictures_a) != len(pictures_b):
        raise EvaluationError(f"pictures: as many of A as of B expected, got {len(pictures_a)} and {len(pictures_b)}")
    if not pictures_a:
        raise EvaluationError("pictures: at least 1 pair expected, got none")
    if len(captions) != len(pictures_a):
        raise EvaluationError(f"captions: one a pair expected, {len(pictures_a)}, got {len(captions)}")
    for i, (a, b) in enumerate(zip(pictures_a, pictures_b, strict=True)):
        for picture in (a, b):
            shape = tuple(picture.shape)
            if picture.ndim != 3 or shape[0] not in (1, 3) or 0 in shape or not picture.is_floating_point():
                raise EvaluationError(
                    f"pictures: floats (1 or 3, H, W) expected, pair {i} has {shape}, {picture.dtype}"
                )
            if not bool(torch.isfinite(picture).all()):
                raise EvaluationError(f"pictures: pair {i} holds NaN or infinity")
        if a.shape[1:] != b.shape[1:]:
            sizes = f"{a.shape[2]} x {a.shape[1]} and {b.shape[2]} x {b.shape[1]}"
            raise EvaluationError(f"pictures: pair {i} is {sizes} px, and the size would tell them apart; resize one")


def _png(picture: Tensor) -> bytes:
    """RGB, 8 bit, without metadata; rounded as `images.write` does."""
    samples = (picture.detach().float().cpu().clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
    pixels = samples.expand(3, -1, -1).permute(1, 2, 0)  # (H, W, 3)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.numpy())).save(stream, "PNG")
    return stream.getvalue()


def _page(key: Key, files: list[list[bytes]]) -> str:
    pairs = []
    for pair in key.pairs:
        pictures = sorted([(pair.a, files[0][pair.index]), (pair.b, files[1][pair.index])])
        shown = [{"id": i, "src": f"data:image/png;base64,{b64encode(png).decode()}"} for i, png in pictures]
        pairs.append({"id": pair.id, "caption": pair.caption, "pictures": shown})
    study = {"study": key.study, "question": key.question, "repeats": key.repeats, "pairs": pairs}
    parts = {"title": html.escape(key.question), "study": json.dumps(study).replace("<", "\\u003c")}
    return re.sub(r"\{\{(title|study)\}\}", lambda found: parts[found[1]], _PAGE.read_text(encoding="utf-8"))
