"""COCO files: one JSON a split or several, and folders of images.

Crowd regions are kept and flagged, and so is the annotated area, which COCO's metric sorts objects by.
"""

import json
import math
import mmap
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from detdistill.core.errors import UserError
from detdistill.core.files import read_bytes, regular
from detdistill.core.params import Slice, parse
from detdistill.data.faults import Faults
from detdistill.data.reading import Parts, Raw, RawImage, RawObject, Reading, SplitName, below, forward


class Part(Slice):
    """A JSON file, and the folder that its file names are below; both are below the data's own folder."""

    annotations: str
    images: str = "."


class Params(Reading):
    """`data.yaml` of a study of kind `coco`."""

    kind: Literal["coco"]
    splits: dict[SplitName, Parts[Part]]


def _whole(value: Any) -> Any:
    """640 for 640.0, and 0 for false: what some tools write for a whole number."""
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    id: int


class _Image(_Item):
    file_name: Annotated[str, AfterValidator(forward)]
    width: Annotated[int, Field(gt=0), BeforeValidator(_whole)]
    height: Annotated[int, Field(gt=0), BeforeValidator(_whole)]


class _Annotation(_Item):
    id: int | None = None  # type: ignore[assignment]
    image_id: int
    category_id: int
    bbox: Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)]
    area: Annotated[FiniteFloat, Field(ge=0)] | None = None
    iscrowd: Annotated[int, Field(ge=0, le=1), BeforeValidator(_whole)] = 0


class _Category(_Item):
    name: str


_ITEMS: dict[str, type[_Item]] = {"images": _Image, "annotations": _Annotation, "categories": _Category}


class File(BaseModel):
    """What is read of a COCO file; other keys (licences, masks) are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)
    images: Annotated[list[_Image], Field(min_length=1)]
    annotations: list[_Annotation]
    categories: Annotated[list[_Category], Field(min_length=1)]


def load(params: Params, where: str) -> Raw:
    """The annotations of all splits; `where` is the file of the params. Raises UserError."""
    root, faults = params.root(where), Faults()
    paths = dict.fromkeys(root / part.annotations for parts in params.splits.values() for part in parts)
    files = {path: read(path) for path in paths}

    def of(part: Part) -> list[RawImage]:
        return images(files[root / part.annotations], root / part.annotations, root, part.images, faults)

    splits = {split: [*chain.from_iterable(map(of, parts))] for split, parts in params.splits.items()}
    parted = params.parted(splits, root, where, faults)
    return Raw(root, params.classes or class_names(files), parted, faults)


def unfit(file: Path) -> str | None:
    """Why a file is none of COCO's objects, told before it is parsed, so that it costs no memory; None if it is.

    Raises UserError for what is no file.
    """
    try:
        with open(regular(file), "rb") as stream:
            if not stream.seek(0, 2):
                return "an empty file"
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
                missing = [key for key in File.model_fields if text.find(f'"{key}"'.encode()) < 0]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return f"not a COCO file of objects: {missing[0]!r} is missing" if missing else None


def read(file: Path) -> File:
    """The checked content of a COCO file. Raises UserError, naming the file and the field."""
    if why := unfit(file):
        raise UserError(f"{file}: {why}")
    try:
        value = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {error}") from None
    try:
        content = parse(File, value, str(file))
    except UserError:
        _settle_items(value, file)
        raise
    faults = Faults()
    for key in _ITEMS:
        ids = [item.id for item in getattr(content, key) if item.id is not None]
        _note_repeated(ids, f"{file}: {key}: two have id", faults)
    content = _without_doubles(content)
    _note_repeated([each.name for each in content.categories], f"{file}: categories: two are called", faults)
    faults.settle()
    return content


def _without_doubles(content: File) -> File:
    """Without the categories that no annotation has and whose name is that of another one, as exports add them."""
    used, kept = {each.category_id for each in content.annotations}, list[_Category]()
    for each in content.categories:
        others = [other for other in content.categories if other.name == each.name and other is not each]
        if each.id in used or not any(other.id in used or other.id > each.id for other in others):
            kept.append(each)
    return content.model_copy(update={"categories": kept})


def class_names(files: dict[Path, File]) -> list[str]:
    """The names of the categories in the order of their ids, which all files must agree on."""
    names = {file: categories(content) for file, content in files.items()}
    first, expected = next(iter(names.items()))
    for file, found in names.items():
        if found != expected:
            raise UserError(f"{file}: categories: others than those of {first}; name the `classes` in data.yaml")
    return expected


def categories(content: File) -> list[str]:
    """The names of the categories in the order of their ids."""
    return [each.name for each in sorted(content.categories, key=lambda each: each.id)]


def images(content: File, file: Path, root: Path, folder: str, faults: Faults) -> list[RawImage]:
    """The images of a file with their objects, in the file's order."""
    names = {category.id: category.name for category in content.categories}
    objects: dict[int, list[RawObject]] = {image.id: [] for image in content.images}
    for row, each in enumerate(content.annotations):
        where = f"{file}: annotation {row if each.id is None else each.id}"
        with faults.collect():
            if each.image_id not in objects:
                raise UserError(f"{where}: image_id: no image has id {each.image_id}")
            if each.category_id not in names:
                raise UserError(f"{where}: category_id: no category has id {each.category_id}")
            x, y, width, height = each.bbox
            corners, field = (x, y, x + width, y + height), f"{where}: category_id"
            if not all(map(math.isfinite, corners)):
                raise UserError(f"{where}: bbox: {each.bbox} ends beyond the largest number")
            found = RawObject(corners, names[each.category_id], field, each.area, each.iscrowd == 1)
            objects[each.image_id].append(found)
    found_images = []
    for image in content.images:
        where = f"{file}: image {image.id}: file_name"
        with faults.collect():
            path = below(root, folder, image.file_name, where)
            found_images.append(RawImage(path, (image.width, image.height), objects[image.id], where))
    return found_images


def _settle_items(value: Any, file: Path) -> None:
    """Raise UserError with a line for each faulty image, annotation and category, where there are several."""
    faults = Faults()
    for key, schema in _ITEMS.items():
        items = value.get(key) if isinstance(value, dict) else None
        for place, item in enumerate(items if isinstance(items, list) else []):
            with faults.collect():
                parse(schema, item, f"{file}: {key}.{place}")
    if len(faults.lines) > 1:
        faults.settle()


def _note_repeated(found: Sequence[int | str], where: str, faults: Faults) -> None:
    """Note each value that occurs more than once."""
    for value, count in Counter(found).items():
        with faults.collect():
            if count > 1:
                raise UserError(f"{where} {value!r}")
