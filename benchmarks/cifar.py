"""CIFAR-10: our class-conditional GAN beside a plain DCGAN trained for the same time.

The DCGAN is that of the PyTorch examples, its networks, initialisation and optimizers, without the stage that makes
64x64 of 32x32: so it sees four times as many pictures in its time. Frechet distances are in the features of a ResNet-20
of others, against the test pictures, and compare within this JPEG copy of CIFAR-10 only.

The peer trains in this run. Ours trains in this run, too, or is a run folder with the time that it took. Time is that
of the processor, all threads together, so other work on the machine favours neither.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reporting import Figure, command_line, parser, shared, write

if TYPE_CHECKING:
    from torch import Tensor

    from pentimento.data.packed import PackedDataset
    from pentimento.features import FeatureNetwork

DATA = "generation/cifar10-jpg/cifar10-jpg.tar.xz"
RESNET = "weights/cifar10-resnet/resnet20-12fca82f.th"
AIM = 0.7  # of the peer's distance
BATCH = 64


def main() -> None:
    """Measure and write the report."""
    options = parser(__doc__ or "")
    options.add_argument("--gan", default=None, metavar="RUN", help="a run of cifar-gan; left out, it is trained here")
    options.add_argument("--seconds", type=float, default=None, help="of processor time that RUN took on this machine")
    options.add_argument("--kimg", type=float, default=500.0, help="thousands of images ours is trained on here")
    options.add_argument("--samples", type=int, default=10_000, help="drawn from each model")
    options.add_argument("--pictures", type=Path, default=Path("runs/benchmark-pictures"), help="for sample sheets")
    chosen = options.parse_args()
    if (chosen.gan is None) != (chosen.seconds is None):
        options.error("--gan and --seconds go together")
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.features import open_network

    where = str(shared(DATA))
    train, test = pack(open_source(where)), pack(open_source(where, "test"))
    network = open_network(shared(RESNET))
    with tempfile.TemporaryDirectory() as folder:
        run, seconds = Path(chosen.gan or ""), chosen.seconds
        if chosen.gan is None:
            run = Path(folder, "cifar-gan")
            seconds = train_ours("cifar-gan", where, run, chosen.kimg)
        figures = beside_dcgan(run, seconds, train, test, network, chosen)
    notes = [
        "Intervals are 95 %: the bias-corrected delete-group jackknife, which need not hold the plain value.",
    ]
    write("cifar", "CIFAR-10", command_line(__file__, chosen, options), figures, notes, folder=chosen.out)


def train_ours(recipe: str, where: str, run: Path, kimg: float, *changes: str) -> float:
    """Train a recipe; returns the processor seconds that it took."""
    import pentimento

    begun = time.process_time()
    overrides = [f"training.total_kimg={kimg}", f"training.sample_every_kimg={kimg}", *changes]
    pentimento.train(recipe, data=where, out=run, overrides=overrides)
    return time.process_time() - begun


# ------------------------------------------------------------------------------------------ beside a DCGAN
def beside_dcgan(
    run: Path,
    seconds: float,
    train: PackedDataset,
    test: PackedDataset,
    network: FeatureNetwork,
    chosen: argparse.Namespace,
) -> list[Figure]:
    """Both distances."""
    from pentimento.evaluate.distances import frechet

    real = features_of_data(test, network)
    ours = samples_of(run, chosen.samples)
    theirs, kimg = samples_of_dcgan(train, seconds, chosen.samples)
    sheet(chosen.pictures / "cifar-gan.png", ours)
    sheet(chosen.pictures / "cifar-dcgan.png", theirs)
    a, b = (frechet(features(images, network), real) for images in (ours, theirs))
    return [
        Figure(
            "class-conditional GAN: Frechet distance in ResNet-20 features",
            a.value,
            "",
            (a.low, a.high),
            f"<= {AIM} of the peer's",
            a.value <= AIM * b.value,
            "plain DCGAN, the same time",
            b.value,
            (b.low, b.high),
            f"{chosen.samples:,} samples, {len(test):,} test pictures; {seconds / 60:.0f} minutes of "
            f"processor time each, in which "
            f"the DCGAN saw {kimg:,.0f} thousand pictures. {a.value / b.value:.2f} times.",
        )
    ]


def samples_of(run: Path, count: int) -> Tensor:
    """(N, 3, 32, 32), classes in turn."""
    from pentimento.models import load
    from pentimento.sampling import default_condition, sample_chunks

    model = load(run)
    return sample_chunks(model, default_condition(model, range(count), 0), range(count), 0)


def samples_of_dcgan(train: PackedDataset, seconds: float, count: int) -> tuple[Tensor, float]:
    """Train the peer for so long; its samples, and the thousands of images it saw."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    from pentimento.runtime import choose_device

    device = choose_device("auto")  # where ours trains
    torch.manual_seed(0)
    generator, discriminator = (network.to(device) for network in dcgan())
    for module in (*generator.modules(), *discriminator.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (discriminator, generator)
    ]
    images = data_of(train).to(device) * 2 - 1
    begun, seen, order = time.process_time(), 0, torch.randperm(len(images))
    while time.process_time() - begun < seconds:
        at = seen % (len(images) - BATCH)
        real, z = images[order[at : at + BATCH]], torch.randn(BATCH, 100, 1, 1, device=device)
        fake = generator(z)
        optimizers[0].zero_grad()
        logits = discriminator(real), discriminator(fake.detach())
        (F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean()).backward()  # binary cross-entropy on logits
        optimizers[0].step()
        optimizers[1].zero_grad()
        F.softplus(-discriminator(fake)).mean().backward()
        optimizers[1].step()
        seen += BATCH
        if at + 2 * BATCH > len(images):
            order = torch.randperm(len(images))
    generator.eval()
    with torch.no_grad():
        made = [generator(torch.randn(500, 100, 1, 1, device=device)).cpu() for _ in range(-(-count // 500))]
    return (torch.cat(made)[:count] + 1) / 2, seen / 1000


def dcgan(width: int = 64) -> tuple[Any, Any]:
    """The generator and the discriminator of pytorch/examples/dcgan, one stage less each."""
    from torch import nn

    def up(n: int, m: int, *how: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(n, m, *how, bias=False), nn.BatchNorm2d(m), nn.ReLU(True)]

    def down(n: int, m: int) -> list[nn.Module]:
        return [nn.Conv2d(n, m, 4, 2, 1, bias=False), nn.BatchNorm2d(m), nn.LeakyReLU(0.2, True)]

    w = width
    generator = nn.Sequential(
        *up(100, 4 * w, 4, 1, 0),
        *up(4 * w, 2 * w, 4, 2, 1),
        *up(2 * w, w, 4, 2, 1),
        nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(3, w, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, True),
        *down(w, 2 * w),
        *down(2 * w, 4 * w),
        nn.Conv2d(4 * w, 1, 4, 1, 0, bias=False),
        nn.Flatten(0),
    )
    return generator, discriminator


# --------------------------------------------------------------------------------------------- pictures
def data_of(dataset: PackedDataset, rows: Any = None) -> Tensor:
    """(N, 3, 32, 32) in [0, 1]."""
    import torch

    from pentimento.data.fit import to_planes

    pixels = dataset.stacked(list(range(len(dataset))) if rows is None else rows)
    if pixels is None:
        sys.exit("pictures of one size expected")
    return torch.cat(
        [to_planes(part, dataset.full_scale) for part in (pixels[i : i + 5000] for i in range(0, len(pixels), 5000))]
    )


def features_of_data(dataset: PackedDataset, network: FeatureNetwork) -> Tensor:
    """Of all its pictures."""
    return features(data_of(dataset), network)


def features(images: Tensor, network: FeatureNetwork) -> Tensor:
    """(N, 64)."""
    from judges import in_batches

    return in_batches(lambda part: network(part).vectors, images)


def sheet(path: Path, pictures: Tensor) -> None:
    """A PNG of rows of ten."""
    from pentimento import images

    images.write(path, images.grid(pictures[:100], columns=10))


if __name__ == "__main__":
    main()
