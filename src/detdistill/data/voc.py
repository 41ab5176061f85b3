"""PASCAL VOC files: one XML an image, lists of images in ImageSets/Main or elsewhere, or all of a folder.

VOC counts pixels from 1 and includes the last one, so a box from (1, 1) to (W, H) covers the image; here it becomes
(0, 0, W, H), as in Detectron2. `difficult` objects are kept and flagged.
"""

import math
from collections.abc import Container
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from pydantic import Field

from detdistill.core.errors import UserError, near
from detdistill.core.files import regular
from detdistill.core.params import Slice
from detdistill.data.faults import BrokenImageError, Faults
from detdistill.data.reading import SUFFIXES, Raw, RawImage, RawObject, Reading, SplitName, class_names, lines_of


class Folders(Slice):
    """The XML files of a folder, all or those that a list names, and the folder of the images of the same names."""

    annotations: str
    images: str
    names: str | None = None


class Params(Reading):
    """`data.yaml` of a study of kind `voc`.

    A split is a list of image sets: `trainval` is ImageSets/Main/trainval.txt, `VOC2007/trainval` the same below
    VOC2007, where `annotations` and `images` are, too. Or it is a list of two folders each, where `names` may be a text
    file of the images that are meant.
    `first_pixel` is the number of an image's first row and column: 1 in VOC, 0 in some tools' files.
    """

    kind: Literal["voc"]
    splits: dict[SplitName, Annotated[list[str | Folders], Field(min_length=1)]]
    annotations: str = "Annotations"
    images: str = "JPEGImages"
    first_pixel: Literal[0, 1] = 1


def load(params: Params, where: str) -> Raw:
    """The annotations of all splits; `where` is the file of the params. Raises UserError."""
    root, faults = params.root(where), Faults()
    splits = {
        split: [each for name in names for each in images(root, name, params, f"{where}: splits.{split}", faults)]
        for split, names in params.splits.items()
    }
    return Raw(root, params.classes or class_names(splits), params.parted(splits, root, where, faults), faults)


def images(root: Path, entry: str | Folders, params: Params, where: str, faults: Faults) -> list[RawImage]:
    """The images of a set or of two folders. Raises UserError, naming the file and the field."""
    if isinstance(entry, Folders):
        listed = root / entry.names if entry.names else None
    else:
        year, _, short = entry.rpartition("/")
        listed = root / year / "ImageSets" / "Main" / f"{short}.txt"
        if not listed.is_file():
            known = [file.relative_to(root) for file in root.glob("**/ImageSets/Main/*.txt")]
            names = [(file.parents[2] / file.stem).as_posix() for file in known]
            raise UserError(f"{where}: no image set {entry!r} in {root}{near(entry, names)}")
        annotations, beside = (Path(year, folder).as_posix() for folder in (params.annotations, params.images))
        entry = Folders(annotations=annotations, images=beside)
    xmls, pictures = files_of(root / entry.annotations, ".xml"), files_of(root / entry.images, *SUFFIXES)
    if not xmls:
        raise UserError(f"{where}: no XML file in {root / entry.annotations}")
    stems = sorted(xmls) if listed is None else _listed(listed, xmls, faults)
    found = []
    for stem in stems:
        names = pictures.get(stem, [stem + SUFFIXES[0]])
        with faults.collect():
            if len(names) > 1:
                raise UserError(f"{root / entry.images}: {' and '.join(names)}: two images of one stem")
            file = root / entry.annotations / xmls.get(stem, [f"{stem}.xml"])[0]
            found.append(image(root, file, Path(entry.images, names[0]), params.first_pixel, faults))
    return found


def image(root: Path, file: Path, picture: Path, first_pixel: int, faults: Faults) -> RawImage:
    """One image as its XML describes it. Raises UserError, naming the file and the field."""
    try:
        tree = _tree(file)
    except BrokenImageError as error:
        return RawImage(picture.as_posix(), None, [], str(file), broken=str(error))
    size = None
    if tree.find("size") is not None:
        size = int(_number(tree, "size/width", str(file))), int(_number(tree, "size/height", str(file)))
    objects = []
    for row, each in enumerate(tree.findall("object"), start=1):
        with faults.collect():
            objects.append(_object(each, f"{file}: object {row}", first_pixel))
    return RawImage(picture.as_posix(), size if size != (0, 0) else None, objects, str(file))


def files_of(folder: Path, *suffixes: str) -> dict[str, list[str]]:
    """Stem -> names of the files of a folder with one of these suffixes, in small letters; hidden ones are none."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*")):
        if file.suffix.lower() in suffixes and not file.name.startswith("."):
            found.setdefault(file.stem, []).append(file.name)
    return found


def stem_of(line: str, known: Container[str]) -> str | None:
    """The known stem that a line of a list means: by itself, or as the name of a file, in whatever folder."""
    name = PurePosixPath(line)
    whole = name.stem if name.suffix.lower() in (*SUFFIXES, ".xml") else name.name
    return next((stem for stem in (line, whole) if stem in known), None)


def _listed(listed: Path, known: Container[str], faults: Faults) -> list[str]:
    """The stems of the images of a set. Raises UserError when the file cannot be read."""
    stems: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(lines_of(listed), start=1):
        text = line.strip()
        if not text:
            continue
        with faults.collect():
            stem = stem_of(text, known) or text
            if stem not in known and (len(stem.split()) != 1 or stem in (".", "..") or "/" in stem):
                raise UserError(f"{listed}: line {number}: the name of one image is needed, found {text!r}")
            if stem in seen:
                raise UserError(f"{listed}: line {number}: {stem!r} is listed twice")
            seen.add(stem)
            stems.append(stem)
    return stems


def _tree(file: Path) -> Element:
    try:
        tree: Element = parse(regular(file)).getroot()
    except UserError as error:
        raise BrokenImageError(str(error)) from None
    except DefusedXmlException as error:
        raise UserError(f"{file}: refused: it defines or fetches entities ({type(error).__name__})") from None
    except (ParseError, LookupError, OSError, ValueError) as error:
        raise BrokenImageError(f"{file}: not XML: {error}") from None
    if tree.tag != "annotation":
        raise UserError(f"{file}: <annotation> is needed, found <{tree.tag}>")
    return tree


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
