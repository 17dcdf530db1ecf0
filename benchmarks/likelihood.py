"""How likely the shipped models of MNIST find its test pictures: VAE and autoregressive CNN, beside a VAE of others.

The peer is read from the folder that PENTIMENTO_DATA names; so are the pictures without --data.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist import frechet_figure, sheet, test_set, trained
from reporting import Figure, command_line, mean_interval, parser, shared, write

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.model import Batch, Model

AIM_VAE, AIM_CNN = 86.8, 84.5  # nats
CHUNK = 200  # test pictures scored at a time


def main() -> None:
    """Measure, write the sheets and the report."""
    options = parser(__doc__ or "")
    for name in MEASURES:
        options.add_argument(f"--{name}", default=None, metavar="MODEL", help=f"{name}: zoo name or run folder")
    options.add_argument("--data", default=None, help="folder of MNIST's idx files")
    options.add_argument("--samples", type=int, default=10_000, help="drawn from the VAE")
    options.add_argument("--scored", type=int, default=10_000, help="test pictures that are scored, the first so many")
    options.add_argument("--importance", type=int, default=500, help="importance samples a picture, of the VAE")
    options.add_argument("--drawn", type=int, default=100, help="pictures drawn by the CNN with memory and without")
    options.add_argument(
        "--pictures", type=Path, default=Path("runs/benchmark-pictures"), help="folder for sample sheets"
    )
    chosen = options.parse_args()
    from pentimento.models import load

    models = {name: load(getattr(chosen, name)) for name in MEASURES if getattr(chosen, name)}
    if not models:
        options.error("name at least one model")
    for name, model in models.items():
        if model.family != name:
            options.error(f"--{name}: a {name} is expected, and this is a {model.family}")
    test = test_set(chosen.data or str(shared("generation/mnist")))
    figures = [figure for name, model in models.items() for figure in MEASURES[name](model, test, chosen)]
    notes = [
        "The test pictures were in no training. Intervals are 95 %: of the mean over pictures for likelihoods, the "
        "bias-corrected delete-group jackknife for Frechet distances.",
        "The VAE beside ours is one of others. It knows no labels, where ours are told one.",
        *(f"{name}: {trained(getattr(chosen, name), model)}." for name, model in models.items()),
    ]
    write("likelihood", "MNIST, likelihood", command_line(__file__, chosen, options), figures, notes, folder=chosen.out)


def no_grad(function: Any) -> Any:
    """`torch.no_grad`, with torch imported at the call."""

    @functools.wraps(function)
    def without(*arguments: Any) -> Any:
        import torch

        with torch.no_grad():
            return function(*arguments)

    return without


# ---------------------------------------------------------------------------------------------------- VAE
def vae_figures(model: Model, test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """Bounds on the likelihood of the test pictures, beside the peer's on the very same binarised pictures."""
    import torch

    from judges import in_batches, load_vae
    from pentimento.sampling import default_condition, sample_chunks

    if model.config.get("likelihood") != "bernoulli":
        sys.exit("--vae: likelihood = 'bernoulli' is expected, for the bounds are those of binarised pictures")
    count = min(chosen.scored, len(test))
    chunks = [range(begin, min(begin + CHUNK, count)) for begin in range(0, count, CHUNK)]
    found = [bounds(model, test, rows, chosen.importance) for rows in chunks]
    elbo, iwae, peer_elbo, peer_iwae = (torch.cat(parts) for parts in zip(*found, strict=True))
    vae_sheets(model, test, chosen.pictures)
    told = "log p(picture | label)" if model.config.get("conditional") else "log p(picture)"
    note = f"A lower bound of {told}, the first {len(elbo):,} test pictures, pixels drawn as 0 or 1 from their gray "
    note += "value; the same draw for both. The peer's encoder sees the gray picture, which it was trained on."
    weighted = f"{chosen.importance} importance samples a picture."
    figures = [
        bound("VAE: ELBO", elbo, peer_elbo, note),
        bound("VAE: importance-weighted bound", iwae, peer_iwae, weighted),
    ]
    whole, (low, high) = mean_interval((-iwae + (math.log(10) if model.config.get("conditional") else 0)).tolist())
    note = "Minus the bound above, plus ln 10 for the label: an upper bound of -log p(picture), as the peer's is. "
    note += "Published for one stochastic layer, 5,000 samples (Burda et al. 2016): VAE 86.76, IWAE 84.78."
    aim = {"aim": f"<= {AIM_VAE}", "met": whole <= AIM_VAE}
    beside = {"peer": "VAE of fully connected layers", "peer_value": -peer_iwae.mean().item()}
    figures.append(
        Figure("VAE: negative log-likelihood without the label", whole, "nats", (low, high), **aim, **beside, note=note)
    )
    indices = range(chosen.samples)
    ours = sample_chunks(model, default_condition(model, indices, 0), indices, 0)
    latents = torch.randn(chosen.samples, 20, generator=torch.Generator().manual_seed(0))
    theirs = in_batches(load_vae().sample, latents)
    return [*figures, frechet_figure("VAE", ours, theirs, "VAE of fully connected layers", test)]


def bounds(model: Any, test: Batch, rows: range, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ELBO and importance-weighted bound of the pictures `rows`, ours and the peer's, in nats."""
    import dataclasses

    import torch

    from judges import load_vae
    from pentimento.runtime import Draws

    assert test.labels is not None
    gray, labels = test.images[rows.start : rows.stop], test.labels[rows.start : rows.stop]
    observed = (Draws(0, rows).uniform("binarize", gray.shape[1:]) < gray).float()
    part = dataclasses.replace(test, images=observed, labels=labels)
    torch.manual_seed(rows.start)
    with torch.no_grad():
        ours = model.score(part, Draws(0, rows), samples)
        theirs = load_vae().bounds(gray, observed, samples)
    return ours["elbo"], ours["iwae"], *theirs


def bound(name: str, values: Tensor, peer: Tensor, note: str) -> Figure:
    """A figure of a mean over pictures, with its interval."""
    (mean, spread), (peer_mean, peer_spread) = mean_interval(values.tolist()), mean_interval(peer.tolist())
    name_of_peer = "VAE of fully connected layers"
    return Figure(name, mean, "nats", spread, None, None, name_of_peer, peer_mean, peer_spread, note)


def vae_sheets(model: Any, test: Batch, folder: Path) -> None:
    """Samples, and rows of test pictures above what the VAE makes of them."""
    import torch

    from pentimento.sampling import default_condition, sample_chunks

    sheet(folder / "vae-samples.png", sample_chunks(model, default_condition(model, range(100), 0), range(100), 0))
    given = test.images[:50]
    with torch.no_grad():
        condition = test.condition[:50]
        made = model.decode(model.encode(given, condition), condition)
    rows = torch.stack([given.unflatten(0, (5, 10)), made.unflatten(0, (5, 10))], 1)  # (5, 2, 10, 1, 28, 28)
    sheet(folder / "vae-reconstructions.png", rows.flatten(0, 2))


# ---------------------------------------------------------------------------------------------------- CNN
def cnn_figures(model: Any, test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """Exact likelihood of the test pictures, and what remembering saves when drawing."""
    import torch

    from pentimento.evaluate.likelihood import MARGINAL, log_likelihoods
    from pentimento.evaluate.pictures import Pictures

    assert test.labels is not None
    rows, spec = slice(chosen.scored), model.spec
    images = (test.images[rows] * 255).round().to(torch.uint8)
    pictures = Pictures("test", images, test.condition[rows], "", spec)
    shares = torch.full((10,), 0.1) if model.config.get("conditional") else None
    found = log_likelihoods(model, pictures, 1, 0, shares)
    exact, (low, high) = mean_interval((-found["log_likelihood"]).tolist())
    figures = (
        [Figure("CNN: negative log-likelihood given the label", exact, "nats", (low, high))]
        if shares is not None
        else []
    )
    whole, spread = mean_interval((-found["log_likelihood" + (MARGINAL if shares is not None else "")]).tolist())
    note = (
        f"Exact; the first {len(pictures):,} test pictures, pixels drawn as 0 or 1 from their gray value with a fixed "
    )
    note += "seed; the label summed out, each with probability 1/10."
    published = {"peer": "PixelCNN, published (van den Oord et al. 2016), trained far longer", "peer_value": 81.30}
    aim = {"aim": f"<= {AIM_CNN}", "met": whole <= AIM_CNN}
    name = "CNN: negative log-likelihood without the label"
    figures.append(Figure(name, whole, "nats", spread, **aim, **published, note=note))
    return [*figures, *drawing_figures(model, chosen)]


@no_grad
def drawing_figures(model: Any, chosen: argparse.Namespace) -> list[Figure]:
    """Pictures drawn with memory and by evaluating the whole network for every pixel."""
    import time

    import torch

    from pentimento.runtime import Draws
    from pentimento.sampling import default_condition

    condition, noise = default_condition(model, range(chosen.drawn), 0), model.draw_noise(Draws(0, range(chosen.drawn)))
    begun = time.perf_counter()
    fast = model.sample(noise, condition)
    seconds = time.perf_counter() - begun
    sheet(chosen.pictures / "cnn-samples.png", fast)
    begun = time.perf_counter()
    slow = torch.zeros_like(fast)
    for i in range(fast.shape[2]):
        for j in range(fast.shape[3]):
            distribution = model._distribution(slow, condition)[:, :, i, j]
            slow[:, :, i, j] = model.pixels.draw(distribution, noise["pixels"][:, :, i, j])
    whole = time.perf_counter() - begun
    differing = int((fast != slow).sum())
    beside = {"peer": "the whole network for every pixel", "peer_value": whole}
    note = f"{whole / seconds:.0f} times as fast; {differing} of {fast.numel():,} pixels differ."
    return [
        Figure(
            f"CNN: {chosen.drawn} pictures drawn",
            seconds,
            "s",
            **beside,
            aim="the same pixels",
            met=differing == 0,
            note=note,
        )
    ]


MEASURES = {"vae": vae_figures, "cnn": cnn_figures}


if __name__ == "__main__":
    main()
