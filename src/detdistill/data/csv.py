"""CSV tables: one line an object, with a header that names its columns or without one.

With a header, the columns are found by the names that people give them: `filename,width,height,class,xmin,ymin,xmax,
ymax` and the like. Without one they are `path,x1,y1,x2,y2,class`, and a line whose last five are empty is an image
without objects. Corners are in pixels from the image's left top.
"""

import csv
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

from detdistill.core.errors import UserError
from detdistill.core.files import regular
from detdistill.core.params import Slice
from detdistill.data.faults import Faults
from detdistill.data.reading import Parts, Raw, RawImage, RawObject, Reading, SplitName, below, class_names, forward

COLUMNS = {
    "file": ("filename", "file_name", "file", "path", "image_path", "image", "image_name", "image_id", "imageid"),
    "class": ("class", "class_name", "label", "label_name", "labelname", "name", "category"),
    "left": ("xmin", "x_min", "x1", "left"),
    "top": ("ymin", "y_min", "y1", "top"),
    "right": ("xmax", "x_max", "x2", "right"),
    "bottom": ("ymax", "y_max", "y2", "bottom"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "split": ("split", "subset"),
}
"""What a column is -> its names in headers, in small letters, the first that occurs taken."""
HEADERLESS = ("file", "left", "top", "right", "bottom", "class")
SIDES = {"width", "height"}
OPTIONAL = {*SIDES, "split"}


class Part(Slice):
    """A table, and the folder that its file names are below; both are below the data's own folder.

    With `split`, it is the lines whose column of that name says so.
    """

    table: str
    images: str = "."
    split: str | None = None


class Params(Reading):
    """`data.yaml` of a study of kind `csv`."""

    kind: Literal["csv"]
    splits: dict[SplitName, Parts[Part]]


def load(params: Params, where: str) -> Raw:
    """The annotations of all splits; `where` is the file of the params. Raises UserError."""
    root, faults = params.root(where), Faults()
    names = dict.fromkeys(part.table for parts in params.splits.values() for part in parts)
    tables = {name: read(root / name, faults) for name in names}

    def of(part: Part) -> list[RawImage]:
        return images(_lines(tables[part.table], part.split), root / part.table, root, part.images, faults)

    splits = {split: [*chain.from_iterable(map(of, parts))] for split, parts in params.splits.items()}
    return Raw(root, params.classes or class_names(splits), params.parted(splits, root, where, faults), faults)


Rows = list[tuple[int, dict[str, str]]]
"""Number of the line, and what a column is -> its text."""


def read(file: Path, faults: Faults) -> Rows:
    """The lines of a table, each that is too short noted. Raises UserError when it is no table of objects."""
    try:
        with open(regular(file), encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(",;\t", key=first.count)
            lines = csv.reader(stream, delimiter=delimiter, strict=True)
            rows = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV table: {error}") from None
    if not rows:
        raise UserError(f"{file}: an empty table")
    columns = _columns(rows[0][1], file)
    found: Rows = []
    for number, cells in rows if columns is None else rows[1:]:
        places = dict(zip(HEADERLESS, range(6), strict=True)) if columns is None else columns
        with faults.collect():
            if len(cells) < (needed := max(places.values()) + 1):
                raise UserError(f"{file}: line {number}: {needed} columns are needed, found {len(cells)}")
            row = {what: cells[place] for what, place in places.items()}
            found.append((number, {**row, "file": forward(row["file"])}))
    if columns is not None and len(rows) == 1:
        raise UserError(f"{file}: a header and no line below it")
    return found


def images(rows: Rows, file: Path, root: Path, folder: str, faults: Faults) -> list[RawImage]:
    """The images in the order in which they first occur, each with its objects."""
    found: dict[str, RawImage] = {}
    for number, row in rows:
        where = f"{file}: line {number}"
        with faults.collect():
            path = below(root, folder, row["file"], f"{where}: file")
            size = _size(row, where)
            image = found.setdefault(path, RawImage(path, size, [], where))
            if image.size != size:
                raise UserError(f"{where}: width and height: not those of {image.where}, the same image")
            if any(row[side] for side in HEADERLESS[1:]):
                image.objects.append(_object(row, where))
    corners = [side for image in found.values() for each in image.objects for side in each.corners]
    if corners and min(corners) >= 0 and max(corners) <= 1:
        raise UserError(f"{file}: all corners are between 0 and 1; pixels are needed")
    return list(found.values())


def _lines(rows: Rows, split: str | None) -> Rows:
    """Those of a split that a column tells."""
    return rows if split is None else [(number, row) for number, row in rows if row.get("split") == split]


def _columns(header: Sequence[str], file: Path) -> dict[str, int] | None:
    """What a column is -> its place; None when the first line is no header. Raises UserError for what is neither."""
    names = [name.lower() for name in header]
    places = {
        what: names.index(next(alias for alias in aliases if alias in names))
        for what, aliases in COLUMNS.items()
        if any(alias in names for alias in aliases)
    }
    if missing := COLUMNS.keys() - OPTIONAL - places.keys():
        if len(header) == 6 and (not any(header[1:]) or all(_is_number(cell) for cell in header[1:5])):
            return None
        wanted = " or ".join(COLUMNS[next(what for what in COLUMNS if what in missing)])
        raise UserError(
            f"{file}: no table of objects: no column {wanted}, and its first line is not path,x1,y1,x2,y2,class"
        )
    return {what: place for what, place in places.items() if what not in SIDES or places.keys() >= SIDES}


def _size(row: dict[str, str], where: str) -> tuple[int, int] | None:
    if "width" not in row:
        return None
    return int(_number(row, "width", where)), int(_number(row, "height", where))


def _object(row: dict[str, str], where: str) -> RawObject:
    if not row["class"]:
        raise UserError(f"{where}: class: it is empty")
    left, top, right, bottom = (_number(row, side, where) for side in ("left", "top", "right", "bottom"))
    return RawObject((left, top, right, bottom), row["class"], f"{where}: class")


def _number(row: dict[str, str], what: str, where: str) -> float:
    if not _is_number(row[what]):
        raise UserError(f"{where}: {what}: a number is needed, found {row[what]!r}")
    return float(row[what])


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
