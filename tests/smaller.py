"""Makes the pictures of a folder smaller: `python -m tests.smaller docs/screens`. Only this needs Pillow.

What pages show are flat colours and letters: a palette holds them, and a picture then takes a third of the room.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image  # type: ignore[import-not-found, unused-ignore]

COLOURS = 96


def shrink(picture: Path) -> None:
    """The same picture with a palette."""
    with Image.open(picture) as opened:
        opened.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            picture, optimize=True
        )


if __name__ == "__main__":
    for found in sorted(Path(sys.argv[1]).glob("*.png")):
        shrink(found)
