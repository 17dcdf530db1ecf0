"""Give a stylizer the style vectors of paintings by name: `python tools/name_styles.py MODEL PAINTINGS`.

Writes styles.safetensors into the folder of MODEL. PAINTINGS is a folder with the files that `NAMES` lists, all in the
public domain; the vectors are shipped, the paintings are not.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pentimento.models import STYLES, find, load
from pentimento.tasks.styles import encode, style_picture, write_styles

STYLE_PX = 512
NAMES = {
    "bingham-flatboatmen": "dph_20_target.jpg",
    "cezanne-basket-of-apples": "dph_27_target.jpg",
    "cezanne-card-players": "dph_25_target.jpg",
    "leonardo-mona-lisa": "dph_17_target.jpg",
    "monet-sainte-adresse": "dph_33_target.jpg",
    "picabia-udnie": "udnie.jpg",
    "red-chalk": "woman_in_peasant_dress.jpg",
    "renoir-pont-neuf": "dph_16_target.jpg",
    "seurat-grande-jatte": "dph_13_target.jpg",
    "seurat-port-en-bessin": "dph_8_target.jpg",
    "turner-shipwreck": "shipwreck.jpg",
    "van-gogh-bedroom": "dph_12_target.jpg",
    "van-gogh-girl-in-white": "dph_30_target.jpg",
    "van-gogh-rhone": "dph_32_target.jpg",
    "van-gogh-self-portrait": "dph_3_target.jpg",
    "vermeer-pearl-earring": "dph_15_target.jpg",
}


def main(where: str, paintings: Path) -> None:
    """Encode every painting and save the vectors beside the weights."""
    model, target = load(where), find(where) / STYLES
    target.unlink(missing_ok=True)
    vectors = {name: encode(model, style_picture(paintings / file, STYLE_PX)) for name, file in NAMES.items()}
    write_styles(target, vectors, model)
    sys.stdout.write(f"{target}: {len(vectors)} styles\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
