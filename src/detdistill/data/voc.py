"""PASCAL VOC folders: Annotations/*.xml, ImageSets/Main/*.txt and JPEGImages.

VOC counts pixels from 1 and includes the last one, so a box from (1, 1) to (W, H) covers the image; here it becomes
(0, 0, W, H), as in Detectron2. `difficult` objects are kept and flagged.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from pydantic import Field

from detdistill.core import paths
from detdistill.core.errors import UserError, near
from detdistill.core.files import read_bytes, regular
from detdistill.data.reading import Raw, RawImage, RawObject, Reading, SplitName, write

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
Sets = Annotated[list[str], Field(min_length=1)]


class Params(Reading):
    """`data.yaml` of a study of kind `voc`.

    A split is a list of image sets: `trainval` is ImageSets/Main/trainval.txt, `VOC2007/trainval` the same below
    VOC2007. `first_pixel` is the number of an image's first row and column: 1 in VOC, 0 in some tools' files.
    """

    kind: Literal["voc"]
    splits: dict[SplitName, Sets]
    first_pixel: Literal[0, 1] = 1


def make(params: Params, study: str) -> None:
    """Write the prepared data of `study`. Raises UserError for params and files that are wrong."""
    where = str(paths.params(study, "data"))
    write(study, params.kind, params, load(params, where))


def load(params: Params, where: str) -> Raw:
    """The annotations of all splits; `where` is the file of the params. Raises UserError."""
    root = params.root(where)
    splits = {
        split: [image for name in names for image in images(root, name, params.first_pixel, f"{where}: splits.{split}")]
        for split, names in params.splits.items()
    }
    return Raw(root, params.classes or class_names(splits), params.held_out(splits, where))


def class_names(splits: dict[SplitName, list[RawImage]]) -> list[str]:
    """The names of all classes that occur, sorted."""
    return sorted({each.name for images in splits.values() for image in images for each in image.objects})


def images(root: Path, name: str, first_pixel: int, where: str) -> Iterator[RawImage]:
    """The images of the set `name`, in its order. Raises UserError, naming the file and the field."""
    year, _, short = name.rpartition("/")
    listed = root / year / "ImageSets" / "Main" / f"{short}.txt"
    if not listed.is_file():
        known = [file.relative_to(root) for file in root.glob("**/ImageSets/Main/*.txt")]
        names = [(file.parents[2] / file.stem).as_posix() for file in known]
        raise UserError(f"{where}: no image set {name!r} in {root}{near(name, names)}")
    seen = set()
    for number, line in enumerate(_lines(listed), start=1):
        stem = line.strip()
        if not stem:
            continue
        if len(stem.split()) != 1 or stem in (".", "..") or "/" in stem:
            raise UserError(f"{listed}: line {number}: the name of one image is needed, found {stem!r}")
        if stem in seen:
            raise UserError(f"{listed}: line {number}: {stem!r} is listed twice")
        seen.add(stem)
        yield image(root, year, stem, first_pixel)


def image(root: Path, year: str, stem: str, first_pixel: int) -> RawImage:
    """One image as its XML describes it. Raises UserError, naming the file and the field."""
    file = root / year / "Annotations" / f"{stem}.xml"
    tree = _tree(file)
    pictures = [Path(year, "JPEGImages", stem + suffix) for suffix in SUFFIXES]
    picture = next((each for each in pictures if (root / each).is_file()), pictures[0])
    size = None
    if tree.find("size") is not None:
        size = int(_number(tree, "size/width", str(file))), int(_number(tree, "size/height", str(file)))
    found = enumerate(tree.findall("object"), start=1)
    objects = [_object(each, f"{file}: object {row}", first_pixel) for row, each in found]
    return RawImage(picture.as_posix(), size if size != (0, 0) else None, objects, str(file))


def _lines(file: Path) -> list[str]:
    try:
        return read_bytes(file).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: cannot be read: {error}") from None


def _tree(file: Path) -> Element:
    try:
        return parse(regular(file)).getroot()
    except DefusedXmlException as error:
        raise UserError(f"{file}: refused: it defines or fetches entities ({type(error).__name__})") from None
    except (ParseError, LookupError, OSError, ValueError) as error:
        raise UserError(f"{file}: not XML: {error}") from None


def _object(element: Element, where: str, first_pixel: int) -> RawObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{where}: name is missing")
    if element.find("bndbox") is None:
        raise UserError(f"{where}: bndbox is missing")
    corners = [_number(element, f"bndbox/{side}", where) for side in ("xmin", "ymin", "xmax", "ymax")]
    left, top, right, bottom = corners
    if left < right and top < bottom:  # else it has no area as it stands, and is not given a pixel's
        left, top = left - first_pixel, top - first_pixel
    difficult = element.find("difficult") is not None and _number(element, "difficult", where) != 0
    return RawObject((left, top, right, bottom), name, f"{where}: name", difficult=difficult)


def _number(element: Element, path: str, where: str) -> float:
    text = element.findtext(path)
    try:
        value = float("" if text is None or "_" in text else text)  # Python would read 1_0 as ten
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {path}: a number is needed, found {text!r}")
    return value
