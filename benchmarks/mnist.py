"""How good the shipped recipes are on MNIST: a classifier, a conditional GAN and a VAE, beside networks of others.

The judges and peers are read from the folder that PENTIMENTO_DATA names; so are the pictures without --data.
Models that are not given are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reporting import Figure, command_line, mean_interval, parser, shared, wilson, write

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.model import Batch, Model

LENET_PERCENT = 99.08  # right of the test set, as its authors and the data's README have it
CONFIDENT = 0.9
AIM_ACCURACY = 99.0
CHUNK = 200  # test pictures scored at a time


def main() -> None:
    """Measure, write the sheets and the report."""
    options = parser(__doc__ or "")
    for name in ("classifier", "gan", "vae"):
        options.add_argument(f"--{name}", default=None, metavar="RUN", help=f"run folder of the recipe mnist-{name}")
    options.add_argument("--data", default=None, help="folder of MNIST's idx files")
    options.add_argument("--samples", type=int, default=10_000, help="drawn from either GAN")
    options.add_argument(
        "--scored", type=int, default=10_000, help="test pictures that the VAE scores, the first so many"
    )
    options.add_argument("--importance", type=int, default=50, help="importance samples a picture")
    options.add_argument(
        "--pictures", type=Path, default=Path("runs/benchmark-pictures"), help="folder for sample sheets"
    )
    chosen = options.parse_args()
    if not (chosen.classifier or chosen.gan or chosen.vae):
        options.error("at least one of --classifier, --gan and --vae is needed")
    from pentimento.models import load

    test = test_set(chosen.data or str(shared("generation/mnist")))
    models = {name: load(getattr(chosen, name)) for name in ("classifier", "gan", "vae") if getattr(chosen, name)}
    for name, model in models.items():
        if model.family != name:
            options.error(f"--{name}: a {name} is expected, and this is a {model.family}")
    figures = [lenet_is_right(test)]
    if "classifier" in models:
        figures += classifier_figures(models["classifier"], test)
    if "gan" in models:
        figures += gan_figures(models["gan"], models.get("classifier"), test, chosen)
    if "vae" in models:
        figures += vae_figures(models["vae"], test, chosen)
    notes = [
        "The 10,000 test pictures were in no training. Intervals are 95 %: Wilson's for shares, of the mean over "
        "pictures for bounds.",
        "LeNet is a network of others, trained on MNIST by its authors; the GAN and the VAE beside ours are from the "
        "same place. Those two know no labels, where ours are told one.",
        *(f"{name}: {trained(getattr(chosen, name), model)}." for name, model in models.items()),
    ]
    write("mnist", "MNIST", command_line(__file__, chosen, options), figures, notes, folder=chosen.out)


def test_set(where: str) -> Batch:
    """All test pictures and their labels."""
    from pentimento.data.batches import Batches
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source

    dataset = pack(open_source(where, "test"))
    if list(dataset.classes) != [str(digit) for digit in range(10)]:
        sys.exit(f"the classes of MNIST are 0 to 9, not {', '.join(dataset.classes)}")
    everything = Batches(dataset, range(len(dataset)), dataset.spec(), batch_size=len(dataset), seed=0, training=False)
    return next(everything.in_order())


def trained(where: str, model: Model) -> str:
    """What the card says of the training, and which weights these are."""
    from pentimento.models import CARD, find

    card = (find(where) / CARD).read_text(encoding="utf-8").splitlines()
    seen = next((line.strip("| ") for line in card if line.startswith("| images seen")), "images seen: unknown")
    assert model.origin is not None
    size, weights = sum(p.numel() for p in model.parameters()), model.origin.weights_sha256[:16]
    return f"{seen.replace(' | ', ': ')}; {size:,} parameters; sha256 {weights}"


def share(name: str, right: Tensor, **more: Any) -> Figure:
    """A figure of the share of true entries, in per cent, with its interval."""
    return Figure(name, percent(right), "%", wilson(int(right.sum()), len(right)), **more)


def percent(right: Tensor) -> float:
    """Of true entries."""
    return 100 * int(right.sum()) / len(right)


# --------------------------------------------------------------------------------------- judge, classifier
def lenet_is_right(test: Batch) -> Figure:
    """The judge is loaded as its authors meant it."""
    from judges import in_batches, load_lenet

    assert test.labels is not None
    right = in_batches(load_lenet(), test.images).argmax(1) == test.labels
    met = round(percent(right), 2) == LENET_PERCENT
    return share("the judge, LeNet: right on the test set", right, aim=f"{LENET_PERCENT}, as published", met=met)


def classify(model: Any, images: Tensor) -> Tensor:
    """(N, 10) probabilities by our classifier."""
    from judges import in_batches

    return in_batches(lambda part: model.predict(part)["probabilities"], images)


def classifier_figures(model: Model, test: Batch) -> list[Figure]:
    """Accuracy on the test set, beside LeNet's."""
    assert test.labels is not None
    right = classify(model, test.images).argmax(1) == test.labels
    aim = {"aim": f">= {AIM_ACCURACY}", "met": percent(right) >= AIM_ACCURACY}
    peer = {"peer": "LeNet", "peer_value": LENET_PERCENT}
    return [share("classifier: right on the test set", right, **aim, **peer)]


# ---------------------------------------------------------------------------------------------------- GAN
def gan_figures(model: Model, classifier: Model | None, test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """Whether samples show the label that was asked for, and how sure the judge is of them."""
    import torch

    from judges import in_batches, load_gan, load_lenet
    from pentimento.sampling import default_condition, sample_chunks

    indices = range(chosen.samples)
    condition = default_condition(model, indices, 0)
    labels = condition.labels
    assert labels is not None
    ours = sample_chunks(model, condition, indices, 0)
    peer = load_gan()
    theirs = in_batches(peer, torch.randn(chosen.samples, peer.latent_dim, generator=torch.manual_seed(0)))
    sheet(chosen.pictures / "gan-samples.png", ours[:100])
    sheet(chosen.pictures / "gan-samples-of-the-peer.png", theirs[:100])
    lenet = load_lenet()
    seen, seen_theirs, seen_real = (in_batches(lenet, images) for images in (ours, theirs, test.images))
    agree = seen.argmax(1) == labels
    by_label = [percent(agree[labels == digit]) for digit in range(min(10, chosen.samples))]
    worst = min(range(len(by_label)), key=by_label.__getitem__)
    note = f"{chosen.samples:,} samples, labels in turn; the worst is {worst} with {by_label[worst]:.1f} %."
    real = {"peer": "real test pictures", "peer_value": LENET_PERCENT}
    figures = [share("GAN: samples in which LeNet sees the label asked for", agree, **real, note=note)]
    if classifier is not None:
        name = "GAN: samples in which our classifier sees the label asked for"
        figures.append(share(name, classify(classifier, ours).argmax(1) == labels))
    sure, sure_theirs, sure_real = (p.max(1).values > CONFIDENT for p in (seen, seen_theirs, seen_real))
    beside: dict[str, Any] = {"peer": "GAN of fully connected layers", "peer_value": percent(sure_theirs)}
    note = f"Of the real test pictures it is so sure of {percent(sure_real):.2f} %."
    name = f"GAN: samples of which LeNet is more than {CONFIDENT:.0%} sure"
    beside["peer_spread"] = wilson(int(sure_theirs.sum()), len(sure_theirs))
    return [*figures, share(name, sure, **beside, note=note)]


# ---------------------------------------------------------------------------------------------------- VAE
def vae_figures(model: Model, test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """Bounds on the likelihood of the test pictures, beside the peer's on the very same binarised pictures."""
    import torch

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
    if model.config.get("conditional"):
        whole = iwae.mean().item() - math.log(10)
        weighted += f" Less ln 10, {whole:.2f} is a bound without the label, as the peer's is."
    weighted += " Published for one stochastic layer, 5,000 samples (Burda et al. 2016): VAE -86.76, IWAE -84.78."
    return [
        bound("VAE: ELBO", elbo, peer_elbo, note),
        bound("VAE: importance-weighted bound", iwae, peer_iwae, weighted),
    ]


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


def sheet(path: Path, pictures: Tensor) -> None:
    """A PNG of rows of ten."""
    from pentimento import images

    images.write(path, images.grid(pictures, columns=10))


if __name__ == "__main__":
    main()
