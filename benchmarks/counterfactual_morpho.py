"""Part `morpho` of `counterfactuals.py`: Morpho-MNIST, whose mechanisms and true counterfactual pictures are known.

t, i -> thickness in px, intensity of 255        i = 64 + 191 sigmoid(2 t - 5 + 0.5 eps)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from counterfactual_cards import card_figures
from morphomnist import MNIST, brought_to, given, read_idx, remade
from pentimento.studies.counterfactual import abduct
from pentimento.studies.outcomes.digits import strokes
from pentimento.studies.scm import World, open_world
from pentimento.studies.scorecard import Meter, pixel_meters, score
from reporting import Figure, mean_interval, shared

__all__ = ["NOTES", "Judges", "morpho"]

PREDICTORS = "causal/morphomnist-predictors"
CALIBRATION = 2000  # the last given test pictures: the judges' units are read off them
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NOTES = [
    "Test digits of MNIST brought to the thickness and the intensity of the authors' test rows, which the model never "
    "saw; each is set to the values of other rows. True counterfactuals are the same digits of MNIST, brought to what "
    "the true equations say. Distances of pictures are mean absolute differences of 255; intervals are 95 % over "
    "pictures.",
    "Judges: the networks for digit, thickness and intensity of the public benchmark by Melistas et al. 2024, who "
    "trained them. Their last layer is in units of its own, which are read off the last 2,000 given test pictures by a "
    "straight line; none of these is measured. The judge of thickness is also told an intensity: that of the other "
    "judge. 'As it is' is what they, or the measurement from pixels, miss in pictures where nothing is set.",
    "Reconstruction is of the 10,000 pictures that the authors hand out, or the first of them.",
    "Graph ignored: the same model, with intensity held where thickness is set. Nothing done: the picture itself.",
]


def morpho(chosen: argparse.Namespace) -> list[Figure]:
    """All figures of the part."""
    world, data = open_world(chosen.morpho), shared(PREDICTORS).parent.parent
    digits = remade(data, "test", chosen.count)
    originals = read_idx(data / MNIST / "t10k-images-idx3-ubyte.gz")[: chosen.count]
    own = strokes(tensor(originals))[:, 0].tolist()
    images, (t, i) = tensor(digits.images), torch.from_numpy(digits.factors.copy()).T
    noise = epsilon(t, i)

    drawn: dict[str, Tensor] = {}  # both cards set the same values

    def truth(name: str, aims: Tensor | list[str]) -> Tensor:
        assert isinstance(aims, Tensor)
        if name not in drawn:
            wanted = (aims, intensity(aims, noise)) if name == "thickness" else (t, aims)
            rows = zip(originals, own, *(column.tolist() for column in wanted), strict=True)
            drawn[name] = tensor(np.stack([brought_to(image, thick, ink, had) for image, had, thick, ink in rows]))
        return drawn[name]

    figures = [*mechanism(world, t, i, noise), reconstruction(world, data, chosen.count)]
    meters = {**pixel_meters(world, images), **Judges(data).meters()}
    aims = {
        ("effectiveness", "thickness by judge"): (0.15, "at most 0.15 px"),
        ("effectiveness", "intensity by judge"): (3.0, "at most 3 of 255"),
        ("minimality", "digit by judge"): (0.98, "98 % or more stay the digit they are judged to be"),
    }
    for residual in (True, False):
        values = {"thickness": t, "intensity": i}
        card = score(world, images, values, meters, truth=truth, residual=residual, seed=chosen.seed)
        figures += card_figures(card, aims)
    return figures


# ---------------------------------------------------------------------------------------------- the true world
def intensity(thickness: Tensor, noise: Tensor) -> Tensor:
    """i, (N,)."""
    return 64 + 191 * torch.sigmoid(2 * thickness - 5 + 0.5 * noise)


def epsilon(thickness: Tensor, value: Tensor) -> Tensor:
    """eps, (N,)."""
    return (torch.logit((value - 64) / 191) - 2 * thickness + 5) / 0.5


def mechanism(world: World, t: Tensor, i: Tensor, noise: Tensor) -> list[Figure]:
    """What was learned of the attributes beside what is true."""
    model, lot = world.attributes, torch.randperm(len(t), generator=torch.Generator().manual_seed(0))
    true = intensity(t[lot], noise)
    found = model.counterfactual({"thickness": t, "intensity": i}, {"thickness": t[lot]})["intensity"]
    off, spread = mean_interval((found - true).abs().tolist())
    still, stills = mean_interval((i - true).abs().tolist())
    made = [
        Figure(
            "counterfactual intensity, thickness set to that of another digit: mean error",
            off,
            "of 255",
            spread,
            peer="nothing done",
            peer_value=still,
            peer_spread=stills,
            note=f"mechanism: {model.choices['intensity']}",
        )
    ]
    zero = torch.zeros(1, dtype=torch.float64)
    for share in QUANTILES:
        at = t.quantile(share)[None]
        middle = model.predict({"thickness": zero, "intensity": zero}, {"thickness": at})["intensity"]
        made.append(
            Figure(
                f"median intensity at a thickness of {float(at):.2f} px",
                float(middle[0]),
                "of 255",
                peer="the true mechanism",
                peer_value=float(intensity(at, zero)[0]),
            )
        )
    for share in QUANTILES:
        noise_there = {"thickness": torch.special.ndtri(zero + share), "intensity": zero}
        made.append(
            Figure(
                f"quantile {share:g} of thickness",
                float(model.predict(noise_there)["thickness"][0]),
                "px",
                peer="the true mechanism",
                peer_value=0.5 + float(gammaincinv(10, share)) / 5,
            )
        )
    return made


def reconstruction(world: World, data: Path, count: int) -> Figure:
    """Of the pictures that the authors hand out."""
    digits = given(data)
    t, i = torch.from_numpy(digits.factors[:count].copy()).T
    images = tensor(digits.images[:count])
    kept = abduct(world, images, {"thickness": t, "intensity": i})
    off, spread = mean_interval((255 * kept.residual.abs().flatten(1).mean(1)).tolist())
    return Figure(
        "reconstruction: mean absolute error",
        off,
        "of 255",
        spread,
        aim="at most 4.4",
        met=off <= 4.4,
        peer="deep structural causal model, published notebook",
        peer_value=4.43,
    )


def tensor(images: np.ndarray) -> Tensor:
    """(N, 28, 28) uint8 -> (N, 1, 28, 28) in [0, 1]."""
    return torch.from_numpy(images.copy()).float()[:, None] / 255


# ------------------------------------------------------------------------------------------------------ judges
class Judges:
    """The networks of others for digit, thickness and intensity, see the notes.

    Args:
        data: the shared folder.
    """

    def __init__(self, data: Path) -> None:
        folder = data / PREDICTORS
        self.digit = Judge(folder / "digit_classifier-epoch=23.ckpt", 10)
        self.ink = Judge(folder / "intensity_classifier-epoch=61.ckpt", 1)
        self.thick = Judge(folder / "thickness_classifier-epoch=32.ckpt", 1, told=1)
        digits = given(data)
        images = tensor(digits.images[-CALIBRATION:])
        known = digits.factors[-CALIBRATION:]
        told = self.ink(images)
        self.lines = {
            "thickness": np.polyfit(self.thick(images, told)[:, 0].numpy(), known[:, 0], 1),
            "intensity": np.polyfit(told[:, 0].numpy(), known[:, 1], 1),
        }

    def meters(self) -> dict[str, Meter]:
        """In px, of 255, and by name."""
        return {
            "thickness by judge": lambda x: self._read("thickness", self.thick(x, self.ink(x))),
            "intensity by judge": lambda x: self._read("intensity", self.ink(x)),
            "digit by judge": lambda x: [str(k) for k in self.digit(x).argmax(1).tolist()],
        }

    def _read(self, name: str, raw: Tensor) -> Tensor:
        slope, start = self.lines[name]
        return raw[:, 0].double() * slope + start


class Judge(nn.Module):
    """Five convolutions, the mean over positions, two layers.

    Args:
        path: of the checkpoint.
        outputs: numbers that it gives.
        told: numbers that it is told beside the picture.
    """

    def __init__(self, path: Path, outputs: int, told: int = 0) -> None:
        super().__init__()

        def block(n: int, m: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
            convolution = nn.Conv2d(n, m, size, stride, size // 2, bias=False)
            return [convolution, nn.BatchNorm2d(m), nn.LeakyReLU()]

        first = [*block(1, 8, 7), nn.Identity(), *block(8, 16, stride=2), *block(16, 16)]
        self.cnn = nn.Sequential(*first, *block(16, 32, stride=2), *block(32, 32), *block(32, 64, stride=2))
        hidden = [nn.Linear(64 + told, 64, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU()]
        self.fc = nn.Sequential(*hidden, nn.Linear(64, outputs))
        self.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor, told: Tensor | None = None) -> Tensor:
        """(N, outputs) of (N, 1, 28, 28) in [0, 1]."""
        seen = self.cnn(F.pad(images * 2 - 1, (2, 2, 2, 2), value=-1.0)).mean((2, 3))
        out: Tensor = self.fc(seen if told is None else torch.cat([seen, told], 1))
        return out
