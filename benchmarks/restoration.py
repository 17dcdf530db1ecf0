"""How good the restoring models are beside networks of others and classics; every part is measured and written alone.

Test sets and the networks of others are read from the folder that PENTIMENTO_DATA names. Without a model for it, a part
tells the others' numbers alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from reporting import Figure, command_line, parser, write

__all__ = ["PARTS"]

# part -> what it is called, and the options that name its models; in the order of the page
PARTS = {
    "denoise": ("noise in colour photographs", ("denoise",)),
    "gray": ("noise in gray photographs", ("denoise",)),
    "recurrent": ("noise, by the number of passes", ("recurrent", "feed_forward", "denoise")),
    "robust": ("noise of any strength and kind", ("denoise",)),
    "real": ("noise of cameras", ("denoise",)),
    "jpeg": ("JPEG artefacts", ("dejpeg",)),
    "enlarge": ("enlargement", ("upscale_x2", "upscale_x4")),
    "inpaint": ("missing parts", ("inpaint",)),
    "old-photos": ("old photographs", ("old_photo", "detector")),
    "speed": ("speed and memory", ("denoise",)),
}
MODELS = tuple(dict.fromkeys(option for _, options in PARTS.values() for option in options))
OUR_OWN = ("recurrent", "old-photos")  # parts that mean nothing without their first model

PROTOCOL = (
    "PSNR on results clipped and rounded to 8 bits, over all channels and the whole picture unless said; the mean over "
    "pictures with its 95 % interval over pictures. Noise is Gaussian, not clipped, drawn from a seed for each picture "
    "and sigma, the same for every method."
)
NOTES = {
    "denoise": [
        PROTOCOL,
        "CBSD68 are 68 photographs of BSDS500's val part, 481x321; Kodak24 is cut to 500x500, as FFDNet's authors did. "
        "FFDNet and DnCNN are the weights that their authors published.",
        "FFDNet is told the noise, as ours is; the blind colour DnCNN is not, and was trained on sigma up to 55. BM3D "
        "is PyPI's `bm3d`, told the noise; so are the non-local means, and the weight of the total variation is the "
        "best of a few for these pictures.",
    ],
    "gray": [
        PROTOCOL,
        "BSD68 is CBSD68 in gray: 0.299 R + 0.587 G + 0.114 B, rounded to 8 bits, from the JPEG files. The same model "
        "as for colour.",
    ],
    "recurrent": [
        PROTOCOL,
        "CBSD68; all networks are told the noise. Times are medians over pictures, of the network alone.",
        "feed-forward is of the same size and has seen as many patches: `pentimento train denoise --set "
        "model.widths=[40,72,96] --set model.blocks=1 --set model.told_wrong=0 --set "
        '\'degrade=[{kind="gray",probability=0.15},{kind="gaussian_noise",sigma=[0,75]}]\' --set '
        "players.restorer.clip_norm=0.5`, with `model.lr=2e-3 training.total_kimg=50`, and from there by --init with "
        "`data.size_px=[96,96] training.batch_size=4 training.total_kimg=22 training.ema_halflife_kimg=1 "
        "model.losses={psnr=0.01} model.lr=1e-3`.",
    ],
    "robust": [
        PROTOCOL,
        "CBSD68, its first pictures, as many as the command says. Salt and pepper strikes all channels of a pixel; "
        "correlated noise is the sum of 3x3 with weights 1 2 1 both ways; Poisson-Gaussian noise has 100 electrons at "
        "white and 2 electrons of read noise. The blind colour DnCNN was trained on sigma up to 55. Of the pictures "
        "that ours learned from last, a tenth had noise that went through a Gaussian blur: near to the correlated one "
        "here.",
        "![PSNR by sigma](../benchmarks/results/restoration-robust.svg)",
    ],
    "real": [
        PROTOCOL.partition(" Noise is")[0],
        "PolyU: 100 pairs of 512x512, one exposure beside the mean of hundreds, both JPEG. No model here was trained "
        "on photographed noise, and none is told anything.",
    ],
    "jpeg": [
        PROTOCOL.partition(" Noise is")[0],
        "BSD68 in gray (see there) through libjpeg. DnCNN-3 is one network for noise, enlargement and JPEG; it is not "
        "told the quality, and in these figures neither is ours.",
    ],
    "enlarge": [
        "PSNR over RGB on results clipped and rounded to 8 bits, without a border of as many pixels as the factor, for "
        "the published SRCNN (MMagic, trained on DIV2K) was measured so; the notes give luma (Y of BT.601, without the "
        "border) and RGB with the border. The mean over pictures with its 95 % interval over pictures.",
        "Small pictures: cut to a multiple of the factor, reduced as MATLAB's imresize does (bicubic, antialiased), "
        "rounded to 8 bits. The peer enlarges them with the same kernel. One picture of Set14 is gray and counts as "
        "RGB, which lifts the mean luma by 0.09 dB over papers that take it as it is.",
    ],
    "inpaint": [
        PROTOCOL.partition(" Noise is")[0],
        "Kodak24 at 500x500; 20 % of the pixels are missing in free-form strokes 8 to 32 px wide, from a seed for "
        "each picture. What is not missing stays as it is, with every method. Telea's radius is 5 px.",
        "Better to look at: SqueezeNet 1.0, which nothing was trained against, sees the repaired picture and the clean "
        "one; squared distance of its features of length 1, mean over places and over conv1, fire2, fire4, fire6 and "
        "fire8 (LPIPS without its weights).",
    ],
    "old-photos": [
        "Drawn damage: CBSD68, each picture with one kind of one width, from a seed for each picture; means over "
        "pictures with their 95 % interval. Some of what is drawn is too faint for anyone to see. What is repaired has "
        "noise of sigma 5, clipped as it becomes JPEG of quality 80, besides; its PSNR is over the damage and 2 px "
        "around it.",
        "The old photographs were looked at, not scored: nobody knows what they were.",
    ],
    "speed": [
        "One photograph of 512x768 in memory, told the noise, ours and the peers in turn in rounds after one to warm "
        "up; median, and lowest to highest round. FFDNet at equal precision is the faster of its plain form and of the "
        "layout that ours runs in.",
        "Files: `pentimento restore big.png --model NAME --memory 2GB --out out.png`, a fresh process each, start and "
        "reading and writing included; peak memory is the largest resident set, with Python and torch in it.",
    ],
}


def main() -> None:
    """Measure the parts, and write a report of each."""
    options = make_options()
    chosen = options.parse_args()
    named = [part for part in PARTS if any(getattr(chosen, option) for option in needed(part))]
    peers_alone = [part for part in PARTS if part not in OUR_OWN] if chosen.peers == "all" else []
    parts = [part for part in named + peers_alone if part == chosen.part][:1]
    if chosen.part == "all":
        parts = named or peers_alone
    if not parts:
        wanted = needed(chosen.part) if chosen.part in PARTS else MODELS
        options.error(f"--part {chosen.part}: name a model: " + " or ".join(map(flag, wanted)))
    for part in parts:
        others = {option: None for option in MODELS if option not in PARTS[part][1]}
        publish(part, argparse.Namespace(**{**vars(chosen), **others, "part": part}), options)


def needed(part: str) -> tuple[str, ...]:
    """Options of which one names a model for it."""
    options = PARTS[part][1]
    return options[:1] if part in OUR_OWN else options


def make_options() -> argparse.ArgumentParser:
    """Of the command."""
    options = parser(__doc__ or "")
    options.add_argument("--part", choices=(*PARTS, "all"), default="all", help="what to measure (default: all)")
    for option in MODELS:
        options.add_argument(flag(option), metavar="MODEL", help="zoo name or run folder")
    options.add_argument("--peers", choices=("all", "none"), default="all", help="none: ours alone, for a quick look")
    options.add_argument("--count", type=int, help="the first so many pictures of each set, for a quick look")
    options.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="that ours compute in")
    options.add_argument("--rounds", type=int, default=7, help="of the speed")
    options.add_argument(
        "--megapixels", type=float, nargs="*", default=[1.0, 12.0, 48.0, 100.0], help="sizes of the files restored"
    )
    options.add_argument(
        "--pictures", type=Path, default=Path("runs/benchmark-pictures/old-photos"), help="folder for old photographs"
    )
    return options


def flag(option: str) -> str:
    """``--upscale-x2`` of ``upscale_x2``."""
    return "--" + option.replace("_", "-")


def publish(part: str, chosen: argparse.Namespace, options: argparse.ArgumentParser) -> None:
    """Measure one part and write its report."""
    from mnist import trained
    from pentimento.models import load

    title, names = PARTS[part]
    print(f"--- {title}", file=sys.stderr)
    where = {name: getattr(chosen, name) for name in names if getattr(chosen, name)}
    models = {name: load(each) for name, each in where.items()}
    figures = measure(part, models, chosen)
    notes = NOTES[part] + [f"{flag(name)[2:]}: {trained(where[name], model)}." for name, model in models.items()]
    command = command_line(__file__, chosen, options)
    write(f"restoration-{part}", f"Restoration: {title}", command, figures, notes, folder=chosen.out)


def measure(part: str, models: dict[str, Any], chosen: argparse.Namespace) -> list[Figure]:
    """The figures of one part."""
    import restoration_old as old
    import restoration_robust as robust
    import restoration_speed as costs
    import restoration_tasks as tasks
    from pentimento.models import load

    match part:
        case "recurrent":
            others = {flag(name)[2:]: model for name, model in models.items() if name != "recurrent"}
            return robust.recurrent(models["recurrent"], others, chosen)
        case "enlarge":
            return tasks.enlarge({2: models.get("upscale_x2"), 4: models.get("upscale_x4")}, chosen)
        case "old-photos":
            detector = chosen.detector or "find-scratches"
            of_drawn = old.found_by_width(load(detector), chosen) + old.repaired_by_width(models["old_photo"], chosen)
            return of_drawn + old.old_photographs(chosen.old_photo, detector, chosen)
        case "speed":
            return costs.speed(models.get("denoise"), chosen.denoise, chosen)
    of_one_model = {
        "denoise": tasks.denoise,
        "gray": tasks.gray,
        "robust": robust.robust,
        "real": tasks.real,
        "jpeg": tasks.jpeg_artefacts,
        "inpaint": tasks.inpaint,
    }
    return of_one_model[part](models.get(PARTS[part][1][0]), chosen)


if __name__ == "__main__":
    main()
