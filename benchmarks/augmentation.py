"""A tenth of CIFAR-10: our class-conditional GAN with and without differentiable augmentation.

Frechet distances are in the features of a ResNet-20 of others, against the test pictures, and compare within this JPEG
copy of CIFAR-10 only.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cifar import DATA, RESNET, data_of, features, features_of_data, samples_of, sheet, train_ours
from reporting import Figure, command_line, parser, shared, write

if TYPE_CHECKING:
    from pentimento.data.packed import PackedDataset
    from pentimento.features import FeatureNetwork

WITH = ["model.augment.mirror=true", "model.augment.shift=0.125"]
WITHOUT = ["model.augment.mirror=false", "model.augment.shift=0.0"]


def main() -> None:
    """Measure and write the report."""
    options = parser(__doc__ or "")
    options.add_argument("--kimg", type=float, default=150.0, help="thousands of images each is trained on")
    options.add_argument("--samples", type=int, default=10_000, help="drawn from each model")
    options.add_argument("--pictures", type=Path, default=Path("runs/benchmark-pictures"), help="for sample sheets")
    chosen = options.parse_args()
    from pentimento.data.packed import pack
    from pentimento.data.sources import open_source
    from pentimento.features import open_network

    where = str(shared(DATA))
    train, test = pack(open_source(where)), pack(open_source(where, "test"))
    with tempfile.TemporaryDirectory() as folder:
        figures = with_a_tenth(Path(folder), train, test, open_network(shared(RESNET)), chosen)
    notes = [
        "Intervals are 95 %: the bias-corrected delete-group jackknife for Frechet distances, whose plain value they "
        "need not hold; for the memorization share as in `pentimento.evaluate.copying`.",
        "The memorization share is that of samples nearer to a training picture than 95 % of test pictures are, in the "
        "features of the ResNet-20; 5 % without copying.",
    ]
    write(
        "augmentation",
        "Differentiable augmentation",
        command_line(__file__, chosen, options),
        figures,
        notes,
        folder=chosen.out,
    )


def with_a_tenth(
    folder: Path, train: PackedDataset, test: PackedDataset, network: FeatureNetwork, chosen: argparse.Namespace
) -> list[Figure]:
    """The same recipe on a tenth of the pictures, with and without differentiable augmentation."""
    from pentimento import images
    from pentimento.evaluate.copying import memorization
    from pentimento.evaluate.distances import frechet

    tenth = folder / "tenth"
    rows = range(0, len(train), 10)
    assert train.labels is not None
    for i in rows:
        path = tenth / train.classes[int(train.labels[i])] / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, data_of(train, [i])[0])
    seen, real = features(data_of(train, list(rows)), network), features_of_data(test, network)
    found = {}
    for name, changes in (("with", WITH), ("without", WITHOUT)):
        run = folder / f"{name}-augmentation"
        train_ours("cifar-gan", str(tenth), run, chosen.kimg, "data.validation=0", *changes)
        samples = samples_of(run, chosen.samples)
        sheet(chosen.pictures / f"augmentation-{name}.png", samples)
        vectors = features(samples, network)
        found[name] = frechet(vectors, real), memorization(vectors, real, seen, 0)
    (distance, copying), (other_distance, other_copying) = found["with"], found["without"]
    often = chosen.kimg * 1000 / len(rows)
    note = f"{len(rows):,} pictures, {chosen.kimg:g} thousand images seen: each picture {often:.0f} times."
    peer = "without differentiable augmentation"
    return [
        Figure(
            "a tenth of the data, differentiable augmentation: Frechet distance in ResNet-20 features",
            distance.value,
            "",
            (distance.low, distance.high),
            peer=peer,
            peer_value=other_distance.value,
            peer_spread=(other_distance.low, other_distance.high),
            note=note,
        ),
        Figure(
            "a tenth of the data, differentiable augmentation: memorization share",
            100 * copying.share.value,
            "%",
            (100 * copying.share.low, 100 * copying.share.high),
            peer=peer,
            peer_value=100 * other_copying.share.value,
            peer_spread=(100 * other_copying.share.low, 100 * other_copying.share.high),
            note=note,
        ),
    ]


if __name__ == "__main__":
    main()
