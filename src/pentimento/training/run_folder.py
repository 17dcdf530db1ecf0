"""A run folder: all there is to know about one training, and nothing half-written.

recipe.toml     every option spelled out
run.json        where the pictures came from
model/          the EMA weights, the config, the card
state.pt        everything resume reads; one file, so that no kill can split it
metrics.jsonl   curves, cut back to the step of state.pt on resume
samples/        pictures of the training
tensorboard/    the same for TensorBoard
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from pentimento import __version__
from pentimento.errors import BusyError, ExistsError, ModelError, NotFoundError, StorageError
from pentimento.runtime import atomic_write
from pentimento.training.recipe import Recipe, dump, load_recipe

__all__ = ["RunFolder"]

FORMAT = 1  # of state.pt
OWN = {"recipe.toml", "run.json", "model", "state.pt", "metrics.jsonl", "samples", "tensorboard"}


class RunFolder:
    """A locked run folder; release it by leaving its ``with`` block. The lock dies with the process that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"
        self.samples = path / "samples"
        self.tensorboard = path / "tensorboard"
        self._state, self._metrics = path / "state.pt", path / "metrics.jsonl"
        self._recipe, self._about = path / "recipe.toml", path / "run.json"
        self._lock = FileLock(path / ".lock")

    def __enter__(self) -> RunFolder:
        self._acquire()
        return self

    def __exit__(self, *_: object) -> None:
        if [p.name for p in self.path.iterdir()] == [".lock"]:  # refused before anything was written
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()

    def _acquire(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise BusyError(
                f"{self.path}: another process is training here; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error

    # ----------------------------------------------------------------------------------- begin, continue
    def begin(self, recipe: Recipe, about: Mapping[str, Any], overwrite: bool) -> None:
        """Make the folder ready for a new run.

        Raises:
            ExistsError: it holds something, and `overwrite` was not asked for or it is not a run.
        """
        self.check_free(overwrite)
        contents = {p.name for p in self.path.iterdir()} & OWN
        for name in sorted(contents, key=lambda n: n == self._about.name):  # what shows it to be a run goes last
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with atomic_write(self._about) as temporary:
            temporary.write_text(json.dumps(dict(about), indent=2) + "\n")
        with atomic_write(self._recipe) as temporary:
            temporary.write_text(dump(recipe))

    def check_free(self, overwrite: bool) -> None:
        """Refuse a folder in which no new run may begin.

        Raises:
            ExistsError: it holds something, and `overwrite` was not asked for or it is not a run alone.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ExistsError(f"{self.path}: is a file; choose another --out")
        contents = {p.name for p in self.path.iterdir()} - {".lock"} if self.path.exists() else set()
        if contents and not overwrite:
            raise ExistsError(
                f"{self.path}: exists and is not empty; go on with it by --resume, replace it by --overwrite, "
                "or choose another --out"
            )
        if contents and self._about.name not in contents:
            raise ExistsError(f"{self.path}: is not a run folder (no run.json), so --overwrite will not touch it")
        if foreign := sorted(contents - OWN):
            raise ExistsError(
                f"{self.path}: {foreign[0]} is no part of a run, so --overwrite will not touch the folder"
            )

    def recipe(self, overrides: tuple[str, ...] = ()) -> Recipe:
        """The recipe of the run."""
        return load_recipe(self._existing(self._recipe), overrides)

    def rewrite_recipe(self, recipe: Recipe) -> None:
        """Note that a resumed run goes on under changed options."""
        with atomic_write(self._recipe) as temporary:
            temporary.write_text(dump(recipe))

    def about(self) -> dict[str, Any]:
        """What `begin` was told."""
        try:
            about: dict[str, Any] = json.loads(self._existing(self._about).read_text())
            return {key: about[key] for key in ("data", "data_hash", "held_out", "skip_broken", "init")} | about
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{self._about}: not the JSON that a run writes ({error})") from error

    def _existing(self, path: Path) -> Path:
        if not path.is_file():
            raise NotFoundError(f"{self.path}: not a run folder, for it has no {path.name}")
        return path

    # ------------------------------------------------------------------------------------------- the state
    def has_state(self) -> bool:
        """Whether a checkpoint was ever written here."""
        return self._state.is_file()

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint; the one before stays in place until the new one is whole.

        Raises:
            StorageError: the disk is full or refuses.
        """
        try:
            with atomic_write(self._state) as temporary, temporary.open("wb") as stream:
                torch.save({"format": FORMAT, "pentimento": __version__, **state}, stream)
        except RuntimeError as error:  # torch's zip writer, when the stream under it fails
            raise StorageError(f"cannot write {self._state}: {error}; what was there is unchanged") from error

    def load_state(self) -> dict[str, Any]:
        """The checkpoint.

        Raises:
            NotFoundError: there is none.
            ModelError: it is truncated, holds a pickle, or was written by another version.
        """
        path = self._existing(self._state)
        if not zipfile.is_zipfile(path):
            raise ModelError(f"{path}: truncated, or not a checkpoint")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ModelError(
                f"{path}: holds more than tensors and numbers, and such pickles are never executed"
            ) from error
        except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
            raise ModelError(f"{path}: truncated or not a checkpoint ({str(error).splitlines()[0]})") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            found = state.get("format") if isinstance(state, dict) else type(state).__name__
            raise ModelError(f"{path}: checkpoint format {found!r}, but pentimento {__version__} reads {FORMAT}")
        return state

    # ------------------------------------------------------------------------------------------- the curves
    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        try:
            with self._metrics.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            raise StorageError(
                f"cannot write {self._metrics}: {error.strerror}; the last checkpoint is whole"
            ) from error

    def cut_metrics(self, step: int) -> None:
        """Drop lines after `step`, and a last one that a kill left incomplete."""
        if self._metrics.is_file():
            kept = [row for row in self.metrics() if row["step"] <= step]
            with atomic_write(self._metrics) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that are whole."""
        rows = []
        if self._metrics.is_file():
            for line in self._metrics.read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break
        return rows
