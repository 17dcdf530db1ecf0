"""``make demo``: train three models on real handwritten digits, sample and measure them, restore and restyle a
photograph, ask what causes what in a generator and what a picture would have been, and write a page about it."""

from __future__ import annotations

import argparse
import base64
import html
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pentimento import api, images
from pentimento.app.cli import Display
from pentimento.errors import PentimentoError
from pentimento.runtime import atomic_write

__all__ = ["main", "make_demo"]

TITLES = {"gan": "GAN", "vae": "VAE", "cnn": "Autoregressive CNN"}
CURVES = {
    "gan": ["discriminator/loss", "generator/loss"],
    "vae": ["vae/loss", "validation/loss"],
    "cnn": ["cnn/loss", "validation/loss"],
}
COLOURS = ("#b5482f", "#2f6db5")
KIMG = {"cnn": 30.0}  # where the recipe's own length is more than a first look needs
MEASURED = ("frechet", "kid", "precision-recall", "labels", "memorization", "diversity")
SIGMA = 25  # of the noise, of 255
STYLES, STRENGTH = ("van-gogh-rhone", "red-chalk"), 0.7
# Rows of the evaluation that the page shows, and what they say.
SHOWN = {
    "frechet": "distance of the samples from the real digits, as the judge sees them",
    "precision": "share of samples that look like real digits",
    "recall": "share of real digits that the samples reach",
    "label agreement": "share of samples in which the judge sees the digit that was asked for",
    "memorization, features": "share of samples suspiciously near to a training picture; 0.05 without copying",
}


def make_demo(out: Path, kimg: dict[str, float] | None = None, count: int = 1000) -> Path:
    """Train, sample, measure, and write ``index.html`` and ``evaluation.html`` into `out`.

    Args:
        out: the folder; runs in it are replaced.
        kimg: thousands of images by family, where other than the demo's own.
        count: samples of each model that are measured.

    Returns:
        The page.
    """
    lengths = KIMG | (kimg or {})
    sections = [_section(out, family, lengths.get(family)) for family in TITLES]
    judge, _ = _train(out, "classifier", lengths.get("classifier"))
    measured = _measure([out / family for family in TITLES], judge.run, count, out / "evaluation.html")
    page = out / "index.html"
    accuracy = f"{judge.figures['validation/accuracy']:.1%}"
    parts = {"sections": "\n".join(sections), "measured": measured, "accuracy": accuracy, "count": f"{count:,}"}
    parts |= {"restored": _restore(out), "sigma": str(SIGMA), "restyled": _restyle(out), "caused": _cause(out)}
    parts["otherwise"] = _counterfactual(out)
    text = PAGE
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
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


# -------------------------------------------------------------------------------------------------- models
def _train(out: Path, family: str, kimg: float | None) -> tuple[api.TrainResult, float]:
    """The training by the recipe for the digits, and the seconds that it took."""
    began = time.monotonic()
    length = [] if kimg is None else [f"training.total_kimg={kimg}"]
    with Display(quiet=False) as display:
        result = api.train(
            f"digits-{family}", data="digits", out=out / family, overwrite=True, overrides=length, progress=display
        )
    return result, time.monotonic() - began


def _draw(family: str, run: Path) -> dict[str, Path]:
    """Caption -> picture, of what the model draws."""
    samples, more = (run.with_name(f"{family}-{kind}.png") for kind in ("samples", "more"))
    api.generate(str(run), out=samples, count=100, overwrite=True)
    if family == "cnn":
        given, mask = _halved_digit(run.parent)
        api.generate(str(run), out=more, count=10, image=given, mask=mask, overwrite=True)
        caption = "a real 7, its lower half drawn anew ten times: told to be a 0, a 1, and so on to 9"
    else:
        api.generate(str(run), out=more, count=10, interpolate=10, overwrite=True)
        caption = "from one latent to another, a digit a row"
    return {"100 samples, a column a digit": samples, caption: more}


def _halved_digit(folder: Path) -> tuple[Path, Path]:
    """A real digit, and a mask of its lower half."""
    import torch
    from sklearn.datasets import load_digits

    digit = torch.from_numpy(load_digits().images[7]).float()[None] / 16  # (1, 8, 8)
    lower = torch.zeros_like(digit)
    lower[:, 4:] = 1
    given, mask = folder / "given.png", folder / "mask.png"
    images.write(given, digit)
    images.write(mask, lower)
    return given, mask


def _measure(runs: Sequence[Path], judge: Path, count: int, out: Path) -> str:
    """Write the evaluation to `out`, and its main rows as a table."""
    with Display(quiet=False) as display:
        result = api.evaluate(
            [str(run) for run in runs],
            data="digits",
            metrics=MEASURED,
            features=str(judge),
            classifier=str(judge),
            count=count,
            out=out,
            overwrite=True,
            progress=display,
        )
    header, *rows = result.table
    found = {row[0].rstrip(" ↑↓"): row for row in rows}
    lines = ["".join(f"<th>{html.escape(cell)}" for cell in header)]
    for name, said in SHOWN.items():
        cells = "".join(f"<td>{html.escape(cell).replace(chr(10), '<br>')}" for cell in found[name][1:])
        lines.append(f"<th>{html.escape(found[name][0])}<p>{said}{cells}")
    table = "".join(f"<tr>{line}" for line in lines)
    return f"<table class=measured>{table}</table><p>{html.escape(result.legend)}</p>"


def _restore(out: Path) -> str:
    """A photograph of scikit-learn's, with noise, restored, and as it was."""
    clean = _photograph().astype(np.float32)
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    given, made = out / "noisy.png", out / "restored.png"
    images.write(given, images.Picture(np.rint(clean + noise).clip(0, 255).astype(np.uint8)))
    with Display(quiet=False) as display:
        api.restore([str(given)], out=made, noise=SIGMA, overwrite=True, progress=display)
    shown = []
    for path, said in ((given, f"with noise of sigma {SIGMA:g}, clipped to 8 bits"), (made, "restored")):
        error = np.square(images.read(path).pixels - clean).mean()
        shown.append(f"{said}: {10 * np.log10(255**2 / error):.1f} dB to the original")
    figures = zip((given, made), shown, strict=True)
    parts = [f"<figure><img src='{_data_uri(p)}' alt=''><figcaption>{c}</figcaption></figure>" for p, c in figures]
    return f"<div class='row photographs'>{''.join(parts)}</div>"


def _restyle(out: Path) -> str:
    """The same photograph in the look of two paintings, by their style vectors."""
    given = out / "photograph.png"
    images.write(given, images.Picture(_photograph()))
    figures = []
    for style in STYLES:
        made = out / f"{style}.png"
        with Display(quiet=False) as display:
            api.stylize(str(given), [style], out=made, strength=STRENGTH, overwrite=True, progress=display)
        figures.append(f"<figure><img src='{_data_uri(made)}' alt=''><figcaption>{style}</figcaption></figure>")
    return f"<div class='row photographs'>{''.join(figures)}</div>"


def _cause(out: Path) -> str:
    """One effect within a generator that ships, with its interval and what tried to refute it."""
    with Display(quiet=False) as display:
        result = api.explain_effects(
            "mnist-gan",
            do=["label=1"],
            outcomes=["brightness"],
            count=200,
            out=out / "effect.html",
            overwrite=True,
            progress=display,
        )
    (effect,) = result.report["effects"]
    tried = [f"{r['name']}: {'passed' if r['passed'] else 'failed'} ({r['note']})" for r in effect["refutations"]]
    items = "".join(f"<li>{html.escape(text)}" for text in tried)
    said = f"{effect['value']:+.3f}, 95 % interval {effect['low']:+.3f} to {effect['high']:+.3f}"
    return (
        f"<p><b>Effect on brightness: {html.escape(said)}</b>, of {effect['baseline']:.3f} without.</p><ul>{items}</ul>"
    )


def _counterfactual(out: Path) -> str:
    """A picture of a three, and what it would have been as other digits, its noise found and held."""
    folder, strip = out / "three", out / "counterfactual.png"
    api.generate("mnist-gan", out=folder, count=1, label="3", seed=2, overwrite=True)
    with Display(quiet=False) as display:
        result = api.edit(
            folder / "000000.png",
            model="mnist-gan",
            label="3",
            do=["label=0,1,5,8"],
            out=strip,
            steps=100,
            overwrite=True,
            progress=display,
        )
    caption = "the picture; what the model makes of its noise; the same noise as a 0, a 1, a 5 and an 8"
    figure = f"<figure><img src='{_data_uri(strip)}' alt=''><figcaption>{caption}</figcaption></figure>"
    return f"<div class='row'>{figure}</div><p>The model comes within {result.rmse:.1f} of 255 of the picture.</p>"


def _photograph() -> npt.NDArray[np.uint8]:
    from sklearn.datasets import load_sample_image

    photograph: npt.NDArray[np.uint8] = load_sample_image("china.jpg")[40:360, 120:600]
    return photograph


# ---------------------------------------------------------------------------------------------------- page
def _section(out: Path, family: str, kimg: float | None) -> str:
    """Train and sample one family, and tell of it."""
    result, seconds = _train(out, family, kimg)
    pictures = _draw(family, result.run)
    found = sorted((result.run / "samples").glob("reconstructions-*.png"))
    pictures |= {"digits it never saw, and below each row what it makes of them": found[-1]} if found else {}
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    numbers = {
        "images seen": f"{result.kimg:,.0f} thousand",
        "time, all told": f"{seconds:.0f} s",
        "images per second": f"{sum(r['images_per_second'] for r in rows) / len(rows):,.0f}",
        **{name: f"{value:.4g}" for name, value in result.figures.items()},
    }
    table = "".join(f"<tr><td>{html.escape(k)}<td>{html.escape(v)}" for k, v in numbers.items())
    figures = "".join(
        f"<figure><img src='{_data_uri(p)}' alt=''><figcaption>{c}</figcaption></figure>" for c, p in pictures.items()
    )
    curves = _curves([(name, [(r["kimg"], r[name]) for r in rows if name in r]) for name in CURVES[family]])
    body = f"<div class=row>{figures}</div><div class=row>{curves}<table>{table}</table></div>"
    return f"<h2>{TITLES[family]}</h2>{body}"


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
img { image-rendering: pixelated; width: 19rem } figure { margin: 0; max-width: 19rem }
figcaption, th p { font-size: .85rem; color: #555; margin: 0; font-weight: normal }
.row { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; margin-bottom: 1.5rem }
.photographs img, .photographs figure { width: 30rem; max-width: 100% }
td { padding: .1rem 1rem .1rem 0; font-variant-numeric: tabular-nums }
th { text-align: left; padding: .4rem 1rem .4rem 0 } .measured { border-collapse: collapse }
.measured td, .measured th { vertical-align: top; padding-top: .4rem } .measured tr + tr { border-top: 1px solid #ddd }
pre { background: #f4f1ea; padding: 1rem; overflow-x: auto }
svg rect { fill: #faf8f4 } svg polyline { fill: none; stroke-width: 1.5 } svg text { font-size: 12px }
</style>
<h1>Pentimento: a first look</h1>
<p>Three models were trained on this machine just now, from nothing, on scikit-learn's 1,797 real handwritten digits of
8x8 pixels. Nothing was downloaded.</p>
{{sections}}
<h2>Measured</h2>
<p>{{count}} samples of each model, held against the real digits. The judge is a classifier, trained just now, too; it
gets {{accuracy}} of the digits right that it never saw.</p>
{{measured}}
<p><a href='evaluation.html'>The whole evaluation</a>: all numbers with their protocols, plots, and pictures to judge by
eye.</p>
<h2>A photograph restored</h2>
<p>A model that comes with the package takes noise of sigma {{sigma}} out of one of scikit-learn's photographs, which it
never saw.</p>
{{restored}}
<h2>The photograph restyled</h2>
<p>In the look of two paintings that the model knows by name, in one pass.</p>
{{restyled}}
<h2>What causes what</h2>
<p>A generator of digits that comes with the package is asked for the same 200 pictures twice: as it is, and as ones,
all noise held fixed.</p>
{{caused}}
<p><a href='effect.html'>The whole report</a>, with the pictures side by side.</p>
<h2>What a picture would have been</h2>
<p>A picture of a three is handed to the generator. The noise that makes it is found, and then the label alone is
set.</p>
{{otherwise}}
<h2>The same on pictures of your own</h2>
<pre>
pentimento train gan --data my-pictures --set 'data.size_px=[64,64]'     # subfolders become labels
pentimento train runs/gan-my-pictures --resume                         # go on after Ctrl-C
pentimento generate runs/gan-my-pictures --count 64 --out sheet.png    # a contact sheet
pentimento generate runs/gan-my-pictures --count 500 --out new/        # single pictures
pentimento evaluate runs/gan-my-pictures --data my-pictures            # numbers, with their intervals
pentimento restore scan.png --out restored.png                         # noise; also holes, scratches, JPEG, size
pentimento stylize photo.jpg van-gogh-rhone --out painted.png          # in the look of a painting
pentimento explain effects runs/gan-my-pictures --do label=cats        # what causes what in it
pentimento inspect sheet.png                                           # every picture says what made it
tensorboard --logdir runs                                              # curves and samples while it learns
</pre>
<p>A few hundred pictures of one kind of thing are enough to begin with. <code>pentimento models</code> lists the
families and recipes; <code>--set</code> changes anything in a recipe.</p>
"""

if __name__ == "__main__":
    main()
