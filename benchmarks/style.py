"""Style transfer: how good and how fast, beside plain methods and networks of others; every part is written alone.

Photographs, paintings, emoji and weights are read from the folder that PENTIMENTO_DATA names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reporting import Figure, command_line, parser, write

__all__ = ["PARTS"]

# part -> what it is called; in the order of the page
PARTS = {
    "quality": "content kept and style reached",
    "optimisation": "loss against time",
    "speed": "speed and memory",
    "exactness": "tiles, strength and weights",
    "translation": "translation of pictures",
}
OF_A_MODEL = ("quality", "speed", "exactness")
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
NOTES = {
    "quality": [
        "Eight photographs of BSDS500's val part, 481x321, in the look of six paintings that the model was trained on, "
        "and of six that it has not seen. Every method is given the painting 481 px long, and is judged by that. "
        "Results are rounded to 8 bits.",
        "The model began from `perceptual`, which has learned the maps of a VGG from photographs and from all sixteen "
        "paintings: the unseen ones are new to the training of styles, not to that.",
        "The judge is SqueezeNet 1.0, which nothing was trained against. Content loss: squared distance of the map "
        "fire7 from the photograph's, relative to the squared length of that. Style loss: squared distance of the Gram "
        "matrix from the painting's, relative likewise, mean over conv1, fire2, fire3, fire5 and fire7.",
        "Means over all pairs. The 95 % intervals are from 2,000 draws of photographs and of paintings, each with "
        "replacement; those of ratios from the same draws for both.",
        "optimize: --steps evaluations with the default weights, by the compressed VGG-19 5SE.pth of collaborative "
        "distillation (Wang et al. 2020), which also served as loss network in the training of the model. WCT: Li et "
        "al. 2017 by the encoders and decoders of the same authors, from relu5_1 down to relu1_1, alpha 0.6 as in the "
        "paper. AdaIN alone: mean and deviation of relu4_1 transferred, by the same encoder and decoder, which are not "
        "made for it.",
    ],
    "speed": [
        "In memory: one photograph enlarged to 1920x1080, a painting 481 px long, ours and the peer in turn in rounds "
        "after one to warm up; median, and lowest to highest round. Ours runs as the verb runs it. The peer is the "
        "transformer network of PyTorch's examples (Johnson et al. 2016), plain fp32, random weights.",
        "Files: `pentimento stylize big.png painting.jpg --model NAME --memory 2GB --out out.png`, a fresh process "
        "each, start and reading and writing included; peak memory is the largest resident set, with Python and torch "
        "in it.",
    ],
    "exactness": [
        "Tiles and weights: a photograph enlarged to 1500x1000; tiles are compared in 16 bits. Strength 0: the eight "
        "photographs of the quality, PSNR of 8 bits, mean with its 95 % interval over pictures.",
    ],
    "optimisation": [
        "One photograph of BSDS500's val part (102061) in the look of Van Gogh's night over the Rhone, from the "
        "content, with the default weights; the longer side has --size-px pixels. Every method is judged by the same "
        "loss at full size in fp32. The clock stands while one of ours, which every 4th step is, is judged so.",
        "Ours runs the network in bf16 where the processor computes in it, else in fp32.",
        "Plain: the settings of the PyTorch tutorial on neural style transfer: one scale, fp32, NCHW, "
        "torch.optim.LBFGS as it is (history 100, no line search), pixels cut to [0, 1] before every evaluation, "
        "targets computed once, and the network run no deeper than needed. The losses are our functions in both.",
        "Times as fast: to the highest of the losses that the two ended with, or better.",
        "![Loss by seconds](../benchmarks/results/style-optimisation.svg)",
    ],
    "translation": [
        "Noto's emoji at 128x128 over white, paired by `tools/emoji_pairs.py`: every fifth emoji is held out, with all "
        "its tones. Many of them have a sister in the training, the same thing done by a man or a woman. Results are "
        "rounded to 8 bits; the whole picture counts, the white around the emoji too.",
        "Means over the held-out emoji, of each the mean over the tones, with 95 % intervals over emoji. L1 is on the "
        "scale of 0 to 255. SSIM: Gaussian window of 11 px, each channel, no borders.",
        "What the peers know is from the training's pairs, over the pixels that are not white. Colour transfer: each "
        "emoji's mean and deviation of L, a and b moved to those of the tone (Reinhard et al. 2001, who take another "
        "space). Affine colour map: of RGB, by least squares, one for each tone. Colour table: the mean change of "
        "every colour, to 5 bits of R, G and B, one for each tone. None of them sees where a colour is.",
        "The CycleGAN was shown no pairs: `pentimento train cyclegan --data train/A/dark --second train/B/dark --set "
        "'model.widths=[24,48,72,96]' --set model.blocks=1 --set model.lr=3e-4 --set model.identity=0 --set "
        "training.total_kimg=12`. The affine map, the table and emoji-tone were, so they are no aim for it.",
    ],
}


def main() -> None:
    """Measure the parts, and write a report of each."""
    options = make_options()
    chosen = options.parse_args()
    for part in PARTS if chosen.part == "all" else [chosen.part]:
        print(f"--- {PARTS[part]}", file=sys.stderr)
        figures, about = measure(part, chosen)
        command = command_line(__file__, argparse.Namespace(**{**vars(chosen), "part": part}), options)
        notes = NOTES[part] + about
        write(f"style-{part}", f"Style transfer: {PARTS[part]}", command, figures, notes, folder=chosen.out)


def make_options() -> argparse.ArgumentParser:
    """Of the command."""
    options = parser(__doc__ or "")
    options.add_argument("--part", choices=(*PARTS, "all"), default="all", help="what to measure (default: all)")
    options.add_argument("--size-px", type=int, default=512, help="optimisation: longer side of the picture")
    options.add_argument("--steps", type=int, default=300, help="optimisation, quality: evaluations of one search")
    options.add_argument("--model", default="stylize", help="zoo name or run folder (default: stylize)")
    options.add_argument("--photos", type=int, help="the first so many, for a quick look")
    options.add_argument("--paintings", type=int, help="quality: the first so many of each set, for a quick look")
    options.add_argument(
        "--sets", nargs="+", choices=("unseen", "trained"), default=["unseen", "trained"], help="quality: paintings"
    )
    options.add_argument(
        "--work", type=Path, default=Path("runs/benchmark-style"), help="quality: keeps results, to go on where stopped"
    )
    options.add_argument(
        "--sheet",
        type=Path,
        help="quality: a picture of all results to write, to be looked at; translation: likewise, -translation added",
    )
    options.add_argument("--rounds", type=int, default=7, help="of the speed")
    options.add_argument("--megapixels", type=float, nargs="*", default=[12.0, 48.0], help="speed: sizes of the files")
    options.add_argument(
        "--tones", default="emoji-tone", help="translation: zoo name or run folder (default: emoji-tone)"
    )
    options.add_argument("--unpaired", help="translation: likewise, a CycleGAN from yellow to --unpaired-tone")
    options.add_argument("--unpaired-tone", choices=TONES, default="dark", help="translation (default: dark)")
    return options


def measure(part: str, chosen: argparse.Namespace) -> tuple[list[Figure], list[str]]:
    """The figures of one part, and what there is to say of its models."""
    if part == "translation":
        import style_translation

        return style_translation.translation(chosen)
    if part not in OF_A_MODEL:
        import style_optimisation

        return style_optimisation.optimisation(chosen), []
    import style_quality
    import style_speed
    from mnist import trained
    from pentimento.models import load

    model = load(chosen.model)
    of_a_model = {"quality": style_quality.quality, "speed": style_speed.speed, "exactness": style_speed.exactness}
    return of_a_model[part](model, chosen), [f"stylize: {trained(chosen.model, model)}."]


if __name__ == "__main__":
    main()
