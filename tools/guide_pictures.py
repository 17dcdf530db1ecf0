"""Make the pictures of the guides: `python tools/guide_pictures.py docs/pictures`.

Of scikit-learn's photographs, and of what is drawn here.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pentimento import api, images
from pentimento.data.degrade import degrade
from pentimento.data.degrade.steps import Creases, Dust, GaussianNoise, Gray, Scratches
from pentimento.runtime import Draws

CROP = (slice(60, 400), slice(120, 560))
STYLES = ("van-gogh-rhone", "seurat-grande-jatte", "red-chalk")
SMALL_PX = 300  # the longer side of what stands beside others
TONES = ("light", "medium", "dark")


def main(out: Path) -> None:
    """Write all."""
    out.mkdir(parents=True, exist_ok=True)
    old_photograph(out / "old-photograph.jpg")
    restyled(out / "restyled.jpg")
    controls(out)
    toned(out / "toned.png")
    thinner(out / "thinner.png")


def old_photograph(path: Path) -> None:
    """A photograph, aged by us; with what `--find-scratches` made of it; as it was."""
    clean = torch.from_numpy(load_sample_image("china.jpg")[CROP].copy()).permute(2, 0, 1)[None] / 255
    steps = [
        Gray(),
        Scratches(density=(1.0, 1.0), width_px=(1.5, 3.0)),
        Creases(count=(2, 2), width_px=(2.0, 3.5)),
        Dust(density=(12.0, 12.0), size_px=(2.0, 5.0)),
        GaussianNoise(sigma=(3, 3)),
    ]
    aged = degrade(clean, steps, Draws(seed=1, indices=[0]))
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "scan.png", Path(folder) / "restored.png"
        images.write(given, aged.images[0].clamp(0, 1))
        api.restore([str(given)], out=made, find_scratches=True)
        restored = images.read(made).to_tensor()
    write(path, [aged.images[0].clamp(0, 1), restored, aged.targets[0]], columns=3)


def restyled(path: Path) -> None:
    """A photograph, and in the look of three paintings."""
    clean = torch.from_numpy(load_sample_image("china.jpg")[CROP].copy()).permute(2, 0, 1) / 255
    row = [clean]
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "photo.png"
        images.write(given, clean)
        for style in STYLES:
            made = Path(folder) / f"{style}.png"
            api.stylize(str(given), [style], out=made)
            row.append(images.read(made).to_tensor())
    write(path, row, columns=2)


def controls(out: Path) -> None:
    """What `stylize` can be told: how much, of which styles, where, in whose colours."""
    clean = Image.fromarray(load_sample_image("china.jpg")[CROP])
    clean.thumbnail((SMALL_PX, SMALL_PX), Image.Resampling.LANCZOS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, painting = folder / "photo.png", folder / "painting.png"
        clean.save(photo)
        Image.fromarray(load_sample_image("flower.jpg")).save(painting)
        ramp = torch.linspace(-1, 2, clean.width).clamp(0, 1).expand(1, clean.height, -1)
        masks = [folder / "right.png", folder / "left.png"]
        for path, mask in zip(masks, (ramp, 1 - ramp), strict=True):
            images.write(path, mask)

        def made(*styles: Path | str, **options: Any) -> Tensor:
            api.stylize(str(photo), list(map(str, styles)), out=folder / "made.png", overwrite=True, **options)
            return images.read(folder / "made.png").to_tensor()

        first, second = STYLES[0], STYLES[2]
        write(out / "strength.jpg", [made(first, strength=share) for share in (0.0, 0.3, 0.6, 1.0)], columns=4)
        shares = ((1, 0), (2, 1), (1, 2), (0, 1))
        write(out / "blended.jpg", [made(first, second, weights=pair) for pair in shares], columns=4)
        in_regions = made(first, second, mask=masks)
        write(out / "regions.jpg", [images.read(masks[0]).to_tensor().expand(3, -1, -1), in_regions], columns=2)
        kept = ("style", "luminance", "matched")
        write(out / "colours.jpg", [made(painting, colours=whose) for whose in kept], columns=3)


def toned(path: Path) -> None:
    """A face, drawn here, and in three tones of skin."""
    drawn = Image.new("RGB", (512, 512), "white")
    pen = ImageDraw.Draw(drawn)
    pen.ellipse((60, 60, 452, 452), fill=(252, 194, 27))
    for left in (154, 306):
        pen.ellipse((left, 190, left + 52, 262), fill=(47, 47, 47))
    pen.arc((150, 220, 362, 380), 20, 160, fill=(47, 47, 47), width=18)
    row = []
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "face.png"
        drawn.resize((128, 128), Image.Resampling.LANCZOS).save(given)
        row.append(images.read(given).to_tensor())
        for tone in TONES:
            made = Path(folder) / f"{tone}.png"
            api.translate([str(given)], model="emoji-tone", label=tone, out=made)
            row.append(images.read(made).to_tensor())
    write(path, row, columns=4)


def thinner(path: Path) -> None:
    """Digits of mnist-gan, and the same with a unit set that explain dissect --control finds."""
    sheets = []
    with tempfile.TemporaryDirectory() as folder:
        for k, do in enumerate([(), ("up1[20]=0.724734",)]):
            made = Path(folder) / f"{k}.png"
            api.generate("mnist-gan", out=made, count=16, seed=3, do=do)
            sheets.append(images.read(made).to_tensor())
    write(path, [F.interpolate(sheet[None], scale_factor=2)[0] for sheet in sheets], columns=2)


def write(path: Path, pictures: list[Tensor], columns: int) -> None:
    """Side by side."""
    images.write(path, images.grid(torch.stack(pictures), columns=columns))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
