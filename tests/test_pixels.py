"""Every kind of pixel that Pillow opens becomes the RGB that a person sees, or is refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from detdistill.core.errors import UserError
from detdistill.dataset.pixels import decode

RAMP = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
FILE = Path("a/picture")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_postscript_is_a_program_and_not_run():
    with pytest.raises(UserError, match=r"a/picture: PostScript is a program"):
        decode(FILE, encoded(Image.fromarray(RAMP), "EPS"))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_grey_is_grey_in_every_mode_of_eight_bits(mode):
    grey = Image.fromarray(RAMP)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    found = np.array(decode(FILE, encoded(grey.convert("RGB").convert(mode) if mode != "L" else grey, kind)))
    assert found.shape == (3, 4, 3)
    assert abs(found.astype(int) - RAMP[..., None]).max() <= (25 if mode == "P" else 1)  # 6 shades a colour in P


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_greyscale_of_sixteen_bits_keeps_its_shades(kind):
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    found = np.array(decode(FILE, encoded(deep, kind)))
    np.testing.assert_array_equal(found, np.repeat(RAMP[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    found = np.array(decode(FILE, encoded(Image.fromarray(np.array([[True, False]])))))
    assert found[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_an_image_is_turned_as_its_camera_was_held(orientation, turn):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    found = np.array(decode(FILE, encoded(Image.fromarray(RAMP), exif=exif)))
    np.testing.assert_array_equal(found[..., 0], np.rot90(RAMP, turn))


@pytest.mark.parametrize(("dtype", "said"), [(np.int32, "32-bit integers"), (np.float32, "floating point")])
def test_pixels_without_one_meaning_are_refused_by_name(dtype, said):
    with pytest.raises(UserError, match=rf"^a/picture: its pixels are {said} \(Pillow's mode .\); 8 or 16 bits"):
        decode(FILE, encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF"))


@pytest.mark.parametrize("cut", [0, 10, 60])
def test_what_is_cut_short_is_told(cut):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    with pytest.raises(UserError, match=r"^a/picture: a broken or truncated image"):
        decode(FILE, encoded(Image.fromarray(noise))[:cut])
