"""YOLO folders: images, and beside them a text file for each with a line an object.

A line is `class x y width height`, centre and sides in shares of the image's; or `class x1 y1 x2 y2 x3 y3 ...`, a
polygon, whose box is taken. As in Ultralytics' files, the labels of `images/a/1.jpg` are `labels/a/1.txt`, or lie
beside the image where no folder is called `images`; an image without such a file has no object. `labels` may say that
they lie elsewhere. Of a pose, whose points follow its box, the box is taken.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from detdistill.core.errors import UserError
from detdistill.data.faults import Faults
from detdistill.data.reading import (
    SUFFIXES,
    Raw,
    RawImage,
    RawObject,
    Reading,
    SplitName,
    below,
    forward,
    lines_of,
    once,
)
from detdistill.data.tree import Tree

ROUNDING = 1e-6
SAMPLE = 20
BESIDE = "beside"
CLASSES = ("classes.txt", "obj.names")
"""Lists of names that tools lay beside the labels."""


class Params(Reading):
    """`data.yaml` of a study of kind `yolo`.

    `names` are the classes in the order of their numbers. A split is a list of folders of images, or of text files
    with the name of an image a line. `labels` is `beside` for text files beside the images, or the one folder that has
    those of all. `kpt_shape` is that of YOLO's own data.yaml: how many points a pose has, and of how many numbers each.
    """

    kind: Literal["yolo"]
    names: Annotated[list[str], Field(min_length=1), AfterValidator(once)]
    labels: str | None = None
    kpt_shape: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)] | None = None
    splits: dict[SplitName, Annotated[list[str], Field(min_length=1)]]


def load(params: Params, where: str) -> Raw:
    """The annotations of all splits; `where` is the file of the params. Raises UserError."""
    root, faults = params.root(where), Faults()
    splits = {
        split: [image for place in places for image in images(root, place, params, f"{where}: splits.{split}", faults)]
        for split, places in params.splits.items()
    }
    return Raw(root, params.classes or params.names, params.parted(splits, root, where, faults), faults)


def images(root: Path, place: str, params: Params, where: str, faults: Faults) -> list[RawImage]:
    """The images below a folder, or of a list."""
    if not (root / place).is_dir():
        return [image(root, file, params, faults) for file in _listed(root, place, where, faults)]
    files = [Path(place, file).as_posix() for file in Tree(root / place).files(*SUFFIXES)]
    lost = [] if params.labels else _lost(root, place, files)
    return [image(root, file, params, faults) for file in files] + lost


def _listed(root: Path, place: str, where: str, faults: Faults) -> list[str]:
    """The paths below `root` that a text file lists."""
    if not (root / place).is_file():
        raise UserError(f"{where}: no folder and no list of images {str(root / place)!r}")
    lines = [forward(line.strip()) for line in lines_of(root / place)]
    beside = Path(place).parent.as_posix()
    above, files = _above([line for line in lines if line], root, beside), []
    for number, line in enumerate(lines, start=1):
        with faults.collect():
            if line:
                name = Path(*Path(line).parts[above:]).as_posix()
                folder = "" if (root / name).is_file() else beside
                files.append(below(root, folder, name, f"{root / place}: line {number}"))
    return files


def _above(names: list[str], root: Path, beside: str) -> int:
    """How many parts of the paths in a list are above the data, as they were where the list was made."""
    sample = [Path(name).parts for name in names[:SAMPLE]]
    for above in range(max(map(len, sample), default=0)):
        ends = [Path(*parts[above:]) for parts in sample if len(parts) > above]
        if 2 * sum((root / end).is_file() or (root / beside / end).is_file() for end in ends) >= len(sample):
            return above
    return 0


def labels_of(file: str, labels: str | None = None) -> str:
    """The text file of an image; `labels` as in `data.yaml`."""
    if labels not in (None, BESIDE):
        return Path(labels, Path(file).stem + ".txt").as_posix()
    parts = list(Path(file).parts)
    if "images" in parts[:-1] and labels != BESIDE:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt").as_posix()


def image(root: Path, file: str, params: Params, faults: Faults) -> RawImage:
    """One image with the objects of its text file, each faulty line noted."""
    labels = root / labels_of(file, params.labels)
    if not labels.exists():
        return RawImage(file, None, [], str(labels), shares=True)
    try:
        lines = lines_of(labels)
    except UserError as error:
        return RawImage(file, None, [], str(labels), broken=str(error))
    objects = []
    for number, line in enumerate(lines, start=1):
        with faults.collect():
            if line.strip():
                objects.append(_object(line.split(), params, f"{labels}: line {number}"))
    return RawImage(file, None, objects, str(labels), shares=True)


def _object(words: list[str], params: Params, where: str) -> RawObject:
    """Corners in shares of the image's sides."""
    try:
        label, *numbers = (float("" if "_" in word else word) for word in words)  # Python would read 1_0 as ten
    except ValueError:
        raise UserError(f"{where}: numbers are needed, found {' '.join(words)!r}") from None
    if params.kpt_shape is not None:
        points = math.prod(params.kpt_shape)
        if len(numbers) != 4 + points:
            raise UserError(f"{where}: a class, 4 numbers and {points} of points are needed; found {len(words)}")
        numbers = numbers[:4]
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise UserError(f"{where}: a class and 4 numbers, or 6 and more of a polygon, are needed; found {len(words)}")
    if label not in range(len(params.names)):
        raise UserError(f"{where}: class {words[0]}: the names go from 0 to {len(params.names) - 1}")
    for number in numbers:
        if not -ROUNDING <= number <= 1 + ROUNDING:
            raise UserError(f"{where}: shares of the image's sides, 0 to 1, are needed; found {number:g}")
    if len(numbers) == 4:
        x, y, width, height = numbers
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        corners = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    return RawObject(corners, params.names[int(label)], where)


def _lost(root: Path, place: str, files: list[str]) -> list[RawImage]:
    """The images that are not there, but whose labels are."""
    expected = {labels_of(file) for file in files}
    folder = Path(labels_of(f"{place}/image")).parent
    if folder == Path(place) or not (root / folder).is_dir():
        return []  # beside the images lie lists and notes, too
    lost = [name for name in Tree(root / folder).files(".txt") if (folder / name).as_posix() not in expected]
    return [
        RawImage(
            Path(place, name).with_suffix(SUFFIXES[0]).as_posix(),
            None,
            [],
            str(root / folder / name),
            broken=f"{root / folder / name}: labels of no image below {root / place}",
        )
        for name in lost
        if Path(name).name not in CLASSES
    ]
