"""How good the shipped recipes are on MNIST: classifier and GANs, beside networks of others; see likelihood.py, too.

The judges and peers are read from the folder that PENTIMENTO_DATA names; so are the pictures without --data.
Models that are not given are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reporting import Figure, command_line, parser, shared, wilson, write

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.model import Batch, Model

LENET_PERCENT = 99.08  # right of the test set, as its authors and the data's README have it
CONFIDENT = 0.9
AIM_ACCURACY, AIM_AGREEMENT = 99.0, 98.0
AIM_KL = 0.1  # nats


# option -> family of the model that it names
MODELS = {
    "classifier": "classifier",
    "gan": "gan",
    "unlabelled_gan": "gan",
    "stacked": "gan",
}


def main() -> None:
    """Measure, write the sheets and the report."""
    options = parser(__doc__ or "")
    for name in MODELS:
        words = name.replace("_", "-")
        options.add_argument(f"--{words}", default=None, metavar="MODEL", help=f"{words}: zoo name or run folder")
    options.add_argument("--data", default=None, help="folder of MNIST's idx files")
    options.add_argument("--samples", type=int, default=10_000, help="drawn from each generator")
    options.add_argument("--stacked-samples", type=int, default=25_000, help="drawn from the one of Stacked MNIST")
    options.add_argument(
        "--pictures", type=Path, default=Path("runs/benchmark-pictures"), help="folder for sample sheets"
    )
    chosen = options.parse_args()
    from pentimento.models import load

    models = {name: load(getattr(chosen, name)) for name in MODELS if getattr(chosen, name)}
    if not models:
        options.error("name at least one model")
    for name, model in models.items():
        if model.family != MODELS[name]:
            options.error(f"--{name}: a {MODELS[name]} is expected, and this is a {model.family}")
    test = test_set(chosen.data or str(shared("generation/mnist")))
    figures = [lenet_is_right(test)]
    for name, model in models.items():
        figures += MEASURES[name](model, test, chosen)
    notes = [
        "The 10,000 test pictures were in no training. Intervals are 95 %: Wilson's for shares, of the mean over "
        "pictures for likelihoods, the bias-corrected delete-group jackknife for Frechet distances.",
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


def classifier_figures(model: Model, test: Batch, _chosen: argparse.Namespace) -> list[Figure]:
    """Accuracy on the test set, beside LeNet's."""
    assert test.labels is not None
    right = classify(model, test.images).argmax(1) == test.labels
    aim = {"aim": f">= {AIM_ACCURACY}", "met": percent(right) >= AIM_ACCURACY}
    peer = {"peer": "LeNet", "peer_value": LENET_PERCENT}
    return [share("classifier: right on the test set", right, **aim, **peer)]


# ---------------------------------------------------------------------------------------------------- GAN
def gan_figures(model: Model, test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """Whether samples show the label that was asked for, and how sure the judge is of them."""
    import torch

    from judges import in_batches, load_gan, load_lenet
    from pentimento.sampling import default_condition, sample_chunks

    if not model.config.get("conditional"):
        sys.exit("--gan: a model trained with labels is expected; one without is --unlabelled-gan")
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
    aim = {"aim": f">= {AIM_AGREEMENT}", "met": percent(agree) >= AIM_AGREEMENT}
    by_label = [percent(agree[labels == digit]) for digit in range(min(10, chosen.samples))]
    worst = min(range(len(by_label)), key=by_label.__getitem__)
    note = f"{chosen.samples:,} samples, labels in turn; the worst is {worst} with {by_label[worst]:.1f} %."
    real = {"peer": "real test pictures", "peer_value": LENET_PERCENT}
    figures = [share("GAN: samples in which LeNet sees the label asked for", agree, **aim, **real, note=note)]
    if chosen.classifier:
        from pentimento.models import load

        name = "GAN: samples in which our classifier sees the label asked for"
        figures.append(share(name, classify(load(chosen.classifier), ours).argmax(1) == labels))
    sure, sure_theirs, sure_real = (p.max(1).values > CONFIDENT for p in (seen, seen_theirs, seen_real))
    beside: dict[str, Any] = {"peer": "GAN of fully connected layers", "peer_value": percent(sure_theirs)}
    note = f"Of the real test pictures it is so sure of {percent(sure_real):.2f} %."
    figures.append(frechet_figure("GAN", ours, theirs, "GAN of fully connected layers", test, aim_share=1 / 3))
    name = f"GAN: samples of which LeNet is more than {CONFIDENT:.0%} sure"
    beside["peer_spread"] = wilson(int(sure_theirs.sum()), len(sure_theirs))
    return [*figures, share(name, sure, **beside, note=note)]


def frechet_figure(
    name: str, ours: Tensor, theirs: Tensor, peer: str, test: Batch, aim_share: float | None = None
) -> Figure:
    """The Frechet distance in LeNet's features to the test pictures, ours beside the peer's."""
    from judges import in_batches, load_lenet
    from pentimento.evaluate.distances import frechet

    real, a, b = (in_batches(load_lenet().features, images) for images in (test.images, ours, theirs))
    found, beside = frechet(a, real), frechet(b, real)
    aim: dict[str, Any] = {}
    if aim_share is not None:
        aim = {"aim": f"<= {aim_share:.3g} of the peer's", "met": found.value <= aim_share * beside.value}
    return Figure(
        f"{name}: Frechet distance in LeNet's 84 features",
        found.value,
        "",
        (found.low, found.high),
        **aim,
        peer=peer,
        peer_value=beside.value,
        peer_spread=(beside.low, beside.high),
        note=f"{len(ours):,} samples against {len(real):,} test pictures; unbiased: {found.corrected:.3g} and "
        f"{beside.corrected:.3g}, which the intervals are about.",
    )


def unlabelled_figures(model: Model, test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """How evenly a GAN that was never told a label makes all ten digits."""
    import torch

    from judges import in_batches, load_lenet
    from pentimento.sampling import default_condition, sample_chunks

    if model.config.get("conditional"):
        sys.exit("--unlabelled-gan: a model trained with model.conditional=false is expected")
    indices = range(chosen.samples)
    images = sample_chunks(model, default_condition(model, indices, 0), indices, 0)
    sheet(chosen.pictures / "unlabelled-gan-samples.png", images[:100])
    lenet = load_lenet()
    counts, real = (torch.bincount(in_batches(lenet, x).argmax(1), minlength=10) for x in (images, test.images))
    ratios = (counts / counts.sum()) / (real / real.sum())
    worst = int((ratios - 1).abs().argmax())
    low, high = wilson(int(counts[worst]), int(counts.sum()))
    share_of = 100 * float(real[worst] / real.sum())
    off = 100 * float((ratios[worst] - 1).abs())
    note = "Counts of 0 to 9: " + ", ".join(f"{c:,}" for c in counts.tolist()) + ". "
    note += f"The worst is {worst}: {low:.2f} to {high:.2f} % of the samples, {share_of:.2f} % of the test pictures."
    return [
        Figure(
            "GAN without labels: largest relative error of a digit's share",
            off,
            "%",
            aim="<= 25",
            met=off <= 25,
            note=note,
        )
    ]


def stacked_figures(model: Model, _test: Batch, chosen: argparse.Namespace) -> list[Figure]:
    """Modes of Stacked MNIST, each channel judged by LeNet."""
    import torch

    from judges import in_batches, load_lenet
    from pentimento.evaluate.coverage import modes
    from pentimento.sampling import default_condition, sample_chunks

    indices, lenet = range(chosen.stacked_samples), load_lenet()
    images = sample_chunks(model, default_condition(model, indices, 0), indices, 0)
    sheet(chosen.pictures / "stacked-samples.png", images[:100])
    digits = [in_batches(lenet, images[:, c : c + 1]).argmax(1) for c in range(3)]
    found = modes(digits[0] * 100 + digits[1] * 10 + digits[2], torch.full((1000,), 1e-3, dtype=torch.float64), 0)
    note = f"{len(images):,} samples; uniform shares."
    covered, kl = int(found.covered.value), found.kl
    return [
        Figure("Stacked MNIST: modes covered", covered, "of 1,000", aim="1,000", met=covered == 1000, note=note),
        Figure(
            "Stacked MNIST: KL(samples || data)",
            kl.value,
            "nats",
            (kl.low, kl.high),
            f"<= {AIM_KL}",
            kl.value <= AIM_KL,
            note=f"The plain value, as published ones are; without the bias of so few samples {kl.corrected:.4f}.",
        ),
    ]


def sheet(path: Path, pictures: Tensor) -> None:
    """A PNG of rows of ten."""
    from pentimento import images

    images.write(path, images.grid(pictures, columns=10))


MEASURES = {
    "classifier": classifier_figures,
    "gan": gan_figures,
    "unlabelled_gan": unlabelled_figures,
    "stacked": stacked_figures,
}


if __name__ == "__main__":
    main()
