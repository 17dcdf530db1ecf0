"""Sort Noto's emoji into pairs for `emoji-tone`: `python tools/emoji_pairs.py NOTO-EMOJI/png/128 OUT`.

Writes OUT/train and OUT/test, each with A/TONE (the yellow emoji) and B/TONE (the same in that tone of skin), as links.
Every fifth emoji, with all its tones, is kept for the test.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["TEST_EVERY", "TONES", "pair_up"]

TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
TEST_EVERY = 5


def pair_up(emoji: Path, out: Path) -> int:
    """Link every pair; returns of how many emoji, each in all tones.

    Args:
        emoji: folder of the pictures, called as Noto calls them.
        out: folder to make.
    """
    pairs: dict[str, dict[str, Path]] = {}
    for path in sorted(emoji.glob("emoji_u*.png")):
        parts = path.stem.split("_")
        for tone in TONES.keys() & set(parts):
            base = "_".join(part for part in parts if part != tone)
            if (emoji / f"{base}.png").is_file():
                pairs.setdefault(base, {})[tone] = path
    whole = {base: toned for base, toned in pairs.items() if len(toned) == len(TONES)}
    for number, (base, toned) in enumerate(whole.items()):
        split = "test" if number % TEST_EVERY == 0 else "train"
        for tone, path in toned.items():
            for side, source in (("A", emoji / f"{base}.png"), ("B", path)):
                link = out / split / side / TONES[tone] / f"{base}.png"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source.resolve())
    return len(whole)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    sys.stdout.write(f"{folder}: {pair_up(Path(sys.argv[1]), folder)} emoji in {len(TONES)} tones\n")
