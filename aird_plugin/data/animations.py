"""All frames of an animated GIF, PNG or WebP; `images.decode` reads the first."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from aird_plugin.data.images import MAX_PIXELS, to_rgb

FORMATS = ("GIF", "PNG", "WEBP")
# Browsers show a frame that states no duration for this long.
USUAL_MS = 100.0


def animation_header(file: Path) -> tuple[int, float] | None:
    """(number of frames, frames per second by the first frame's duration); None for a file that is no readable animation."""
    try:
        with _open(file) as image:
            count = getattr(image, "n_frames", 1)
            if count < 2:
                return None
            image.load()
            return count, 1000 / (image.info.get("duration") or USUAL_MS)
    # Pillow's decoders raise many error types on damaged bytes, without a common base class.
    except Exception:
        return None


def animation_frames(file: Path, start: int = 0) -> Iterator[np.ndarray | str]:
    """The frames from number `start` on: uint8 (H, W, 3) RGB, transparency dropped, or why one cannot be read."""
    with _open(file) as image:
        for number in range(start, getattr(image, "n_frames", 1)):
            frame_HWC: np.ndarray | str
            try:
                image.seek(number)
                frame_HWC = np.array(to_rgb(image))
            except Exception as error:
                frame_HWC = " ".join(str(error).split()) or type(error).__name__
            yield frame_HWC


def _open(file: Path) -> Image.Image:
    """The file, opened without decoding. Raises ValueError for frames of more than 2**26 pixels, and what Pillow raises."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(f"{file} has {image.width}x{image.height} pixels; at most {MAX_PIXELS} in total are allowed")
    return image
