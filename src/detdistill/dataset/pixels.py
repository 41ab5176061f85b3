"""An image file as upright RGB pixels: what Pillow can open is converted rightly or refused by name."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from detdistill.core.errors import UserError

_REFUSED = {"I": "32-bit integers", "F": "floating point"}


def decode(path: Path, content: bytes) -> Image.Image:
    """The whole image in mode RGB, turned as EXIF says. Greyscale of 16 bits keeps its upper eight.

    Raises:
        UserError: a broken or truncated image, or one whose kind of pixel has no one meaning as RGB.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.format == "EPS":
                raise UserError(f"{path}: PostScript is a program, and no file of a data set is run")
            upright = ImageOps.exif_transpose(opened)
            if upright.mode in _REFUSED:
                kind = f"{_REFUSED[upright.mode]} (Pillow's mode {upright.mode})"
                raise UserError(f"{path}: its pixels are {kind}; 8 or 16 bits a channel are needed")
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return upright.convert("RGB")
    except UnidentifiedImageError:  # Pillow names its buffer
        raise UserError(f"{path}: a broken or truncated image, or no image at all") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: a broken or truncated image: {error}") from None
