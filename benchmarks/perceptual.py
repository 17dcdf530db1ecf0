"""How well the shipped `perceptual` network stands in for its teacher, a compressed VGG-19, on pictures neither saw.

The distance of two pictures (`pentimento.losses.perceptual_distance`) by the maps of the one and of the other, for
photographs of the BSDS500's `val` part and what several kinds of damage make of them; and how near the maps are.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reporting import Figure, command_line, parser, shared, write

if TYPE_CHECKING:
    from torch import Tensor

TEACHER = "weights/vgg19-16x-collaborative-distillation/5SE.pth"
PHOTOGRAPHS = "restoration/BSDS500-images/val"


def main() -> None:
    """Measure and write the report."""
    options = parser(__doc__ or "")
    options.add_argument("--model", default="perceptual", help="zoo name or run folder")
    options.add_argument("--count", type=int, default=100, help="photographs")
    options.add_argument("--side", type=int, default=160, help="of the square cut from their centre, in pixels")
    chosen = options.parse_args()
    import torch
    from scipy.stats import pearsonr, spearmanr

    from pentimento.features import open_network
    from pentimento.layers import FEATURE_LAYERS
    from pentimento.losses import perceptual_distance

    student, teacher = open_network(chosen.model), open_network(shared(TEACHER))
    distances: dict[str, list[tuple[float, float]]] = {}
    errors = {layer: list[float]() for layer in FEATURE_LAYERS}
    photographs = list(read_squares(shared(PHOTOGRAPHS), chosen.count, chosen.side))
    for i, photograph in enumerate(photographs):
        other = photographs[(i + 1) % len(photographs)]
        with torch.no_grad():
            maps = [network.maps(photograph, FEATURE_LAYERS) for network in (student, teacher)]
            for layer in FEATURE_LAYERS:
                errors[layer].append(unexplained(maps[0][layer], maps[1][layer]))
            for kind, damaged in damages(photograph, other, i).items():
                seen = [network.maps(damaged, FEATURE_LAYERS) for network in (student, teacher)]
                a, b = (float(perceptual_distance(m, s)) for m, s in zip(maps, seen, strict=True))
                distances.setdefault(kind, []).append((a, b))
    pairs = [pair for rows in distances.values() for pair in rows]
    ours, theirs = zip(*pairs, strict=True)
    within = [float(spearmanr(*zip(*rows, strict=True)).statistic) for rows in distances.values()]
    note = f"{len(pairs):,} pairs: {len(photographs)} photographs, {len(distances)} kinds and strengths of damage."
    ranks, spread = interval(spearmanr, ours, theirs, len(distances))
    figures = [
        Figure("distance: rank correlation with the teacher's (Spearman)", ranks, "", spread, note=note),
        Figure(
            "distance: correlation with the teacher's (Pearson)", *interval_row(pearsonr, ours, theirs, len(distances))
        ),
        Figure(
            "distance: rank correlation within a kind of damage, the lowest",
            min(within),
            note=", ".join(f"{kind} {value:.3f}" for kind, value in zip(distances, within, strict=True)),
        ),
    ]
    for layer, values in errors.items():
        share = 100 * (1 - sum(values) / len(values))
        figures.append(Figure(f"{layer}: variance of the teacher's map explained", share, "%"))
    notes = ["Intervals are 95 %, by a bootstrap over photographs, for the pairs of one photograph belong together."]
    command = command_line(__file__, chosen, options)
    write("perceptual", "Perceptual network", command, figures, notes, folder=chosen.out)


def read_squares(folder: Path, count: int, side: int) -> Any:
    """(1, 3, side, side) from the centre of each of the first `count` photographs."""
    from pentimento import images
    from pentimento.layers import centre_fit

    for path in sorted(folder.glob("*.jpg"))[:count]:
        yield centre_fit(images.read(path).to_tensor()[None], (side, side))


def damages(x: Tensor, other: Tensor, seed: int) -> dict[str, Tensor]:
    """What becomes of (1, 3, H, W), by kind and strength."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator)
    found = {"another picture": other}
    for sigma in (5, 15, 40):
        found[f"noise {sigma}"] = (x + noise * sigma / 255).clamp(0, 1)
    for factor in (2, 4, 8):
        small = F.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
        found[f"blur {factor}"] = F.interpolate(small, x.shape[2:], mode="bicubic").clamp(0, 1)
    for quality in (70, 30, 10):
        found[f"JPEG {quality}"] = jpeg(x, quality)
    for pixels in (1, 3):
        found[f"shift {pixels}"] = x.roll((pixels, pixels), (2, 3))
    for gamma in (0.7, 1.5):
        found[f"gamma {gamma}"] = x**gamma
    found["gray"] = x.mean(1, keepdim=True).expand_as(x)
    found["channels exchanged"] = x.flip(1)
    return found


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Through Pillow's codec."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = (x[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    read = np.asarray(Image.open(file), np.float32) / 255
    return torch.from_numpy(read).permute(2, 0, 1)[None]


def unexplained(found: Tensor, wanted: Tensor) -> float:
    """Share of the variance of `wanted` that is left when each channel of `found` is scaled alike as best it can."""
    a, b = found - found.mean((2, 3), keepdim=True), wanted - wanted.mean((2, 3), keepdim=True)
    scale = (a * b).sum() / a.square().sum().clamp(min=1e-12)
    return float((b - scale * a).square().sum() / b.square().sum())


Correlation = Callable[..., Any]


def interval(correlation: Correlation, ours: Any, theirs: Any, kinds: int) -> tuple[float, tuple[float, float]]:
    """A correlation, and its interval over photographs; the pairs come kind by kind."""
    import numpy as np

    a, b = (np.reshape(values, (kinds, -1)) for values in (ours, theirs))
    stream = np.random.default_rng(0)
    draws = [stream.integers(0, a.shape[1], a.shape[1]) for _ in range(500)]
    found = [float(correlation(a[:, rows].ravel(), b[:, rows].ravel()).statistic) for rows in draws]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(correlation(a.ravel(), b.ravel()).statistic), (float(low), float(high))


def interval_row(*given: Any) -> tuple[float, str, tuple[float, float]]:
    """The value, its unit and its interval, as `Figure` takes them."""
    value, spread = interval(*given)
    return value, "", spread


if __name__ == "__main__":
    main()
