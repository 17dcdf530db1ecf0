"""``make demo``: train a GAN and a VAE on real handwritten digits, sample both, and write a page about it."""

from __future__ import annotations

import argparse
import base64
import html
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pentimento import api
from pentimento.app.cli import Display
from pentimento.errors import PentimentoError
from pentimento.runtime import atomic_write

__all__ = ["main", "make_demo"]

CURVES = {"gan": ["discriminator/loss", "generator/loss"], "vae": ["vae/loss", "validation/loss"]}
COLOURS = ("#b5482f", "#2f6db5")


def make_demo(out: Path, kimg: dict[str, float] | None = None) -> Path:
    """Train, sample, and write ``index.html`` into `out`.

    Args:
        out: the folder; runs in it are replaced.
        kimg: thousands of images by family, where other than the recipes'.

    Returns:
        The page.
    """
    sections = []
    for family in ("gan", "vae"):
        began = time.monotonic()
        run = out / family
        length = [f"training.total_kimg={kimg[family]}"] if kimg else []
        with Display(quiet=False) as display:
            result = api.train(
                f"digits-{family}", data="digits", out=run, overwrite=True, overrides=length, progress=display
            )
        seconds = time.monotonic() - began
        sheet, walk = out / f"{family}-samples.png", out / f"{family}-interpolation.png"
        api.generate(str(run), out=sheet, count=100, overwrite=True)
        api.generate(str(run), out=walk, count=10, interpolate=10, overwrite=True)
        sections.append(_section(family, run, result, seconds, sheet, walk))
    page = out / "index.html"
    with atomic_write(page) as temporary:
        temporary.write_text(PAGE.replace("{{sections}}", "\n".join(sections)), encoding="utf-8")
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    """The command that ``make demo`` runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out: Path = parser.parse_args(arguments).out
    try:
        page = make_demo(out)
    except PentimentoError as error:
        sys.exit(f"demo: {error}")
    print(f"open {page}")


# ---------------------------------------------------------------------------------------------------- page
def _section(family: str, run: Path, result: api.TrainResult, seconds: float, sheet: Path, walk: Path) -> str:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    numbers = {
        "images seen": f"{result.kimg:,.0f} thousand",
        "time, all told": f"{seconds:.0f} s",
        "images per second": f"{sum(r['images_per_second'] for r in rows) / len(rows):,.0f}",
        **{name: f"{value:.4g}" for name, value in result.figures.items()},
    }
    table = "".join(f"<tr><td>{html.escape(k)}<td>{html.escape(v)}" for k, v in numbers.items())
    pictures = [("100 samples, a column a digit", sheet), ("from one latent to another, a digit a row", walk)]
    found = sorted((run / "samples").glob("reconstructions-*.png"))
    pictures += [("digits it never saw, and below each row what it makes of them", found[-1])] if found else []
    figures = "".join(
        f"<figure><img src='{_data_uri(p)}' alt=''><figcaption>{c}</figcaption></figure>" for c, p in pictures
    )
    curves = _curves([(name, [(r["kimg"], r[name]) for r in rows if name in r]) for name in CURVES[family]])
    return f"<h2>{family.upper()}</h2><div class=row>{figures}</div><div class=row>{curves}<table>{table}</table></div>"


def _data_uri(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _curves(series: list[tuple[str, list[tuple[float, float]]]], width: int = 460, height: int = 220) -> str:
    """An inline SVG: one line per series over thousands of images."""
    points = [p for _, line in series for p in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    # The first tenth of a training falls too far to show together with the rest.
    late = [y for x, y in points if x >= left + 0.1 * (right - left)]
    low, high = min(late), max(late)
    span_x, span_y = right - left or 1, high - low or 1
    parts = [f"<svg viewBox='0 0 {width} {height + 40}' width='{width}'><rect width='{width}' height='{height}'/>"]
    for k, (name, line) in enumerate(series):
        at = [
            f"{(x - left) / span_x * width:.1f},{height - min(max((y - low) / span_y, 0), 1) * height:.1f}"
            for x, y in line
        ]
        parts.append(f"<polyline points='{' '.join(at)}' stroke='{COLOURS[k]}'/>")
        parts.append(f"<text x='{8 + k * 170}' y='{height + 32}' fill='{COLOURS[k]}'>{html.escape(name)}</text>")
    parts.append(f"<text x='6' y='16'>{high:.4g}</text><text x='6' y='{height - 6}'>{low:.4g}</text>")
    parts.append(f"<text x='{width - 6}' y='{height + 14}' text-anchor='end'>{right:.0f} thousand images</text></svg>")
    return "".join(parts)


PAGE = """<!doctype html><meta charset=utf-8><title>Pentimento: a first look</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { image-rendering: pixelated; width: 19rem } figure { margin: 0 } figcaption { font-size: .85rem; color: #555 }
.row { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; margin-bottom: 1.5rem }
td { padding: .1rem 1rem .1rem 0; font-variant-numeric: tabular-nums }
pre { background: #f4f1ea; padding: 1rem; overflow-x: auto }
svg rect { fill: #faf8f4 } svg polyline { fill: none; stroke-width: 1.5 } svg text { font-size: 12px }
</style>
<h1>Pentimento: a first look</h1>
<p>Two models were trained on this machine just now, from nothing, on scikit-learn's 1,797 real handwritten digits of
8x8 pixels. Nothing was downloaded.</p>
{{sections}}
<h2>The same on pictures of your own</h2>
<pre>
pentimento train gan --data my-pictures --set 'data.size_px=[64,64]'     # subfolders become labels
pentimento train runs/gan-my-pictures --resume                         # go on after Ctrl-C
pentimento generate runs/gan-my-pictures --count 64 --out sheet.png    # a contact sheet
pentimento generate runs/gan-my-pictures --count 500 --out new/        # single pictures
pentimento inspect sheet.png                                           # every picture says what made it
tensorboard --logdir runs                                              # curves and samples while it learns
</pre>
<p>A few hundred pictures of one kind of thing are enough to begin with. <code>pentimento models</code> lists the
families and recipes; <code>--set</code> changes anything in a recipe.</p>
"""

if __name__ == "__main__":
    main()
