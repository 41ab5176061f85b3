"""A study of the user's own data: looked at whole, its parameters sized by the data's statistics, ready to edit."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from detdistill.check import check
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.core.params import Name
from detdistill.data.annotate import annotate
from detdistill.data.reading import Raw
from detdistill.new_study import said
from detdistill.new_study.layouts import Kind, find
from detdistill.new_study.parts import part
from detdistill.new_study.slices import slices
from detdistill.new_study.splits import Named
from detdistill.new_study.statistics import Statistics
from detdistill.new_study.usable import require_usable


@dataclass(frozen=True)
class NewStudy:
    """What was written, and what the data are, a sentence each."""

    folder: Path
    said: list[str]


def new(
    study: str,
    place: Path,
    named: Named | None = None,
    *,
    kind: Kind | None = None,
    size: int | None = None,
    seed: int = 0,
    broken_images: Literal["refuse", "skip"] = "refuse",
    title: str | None = None,
) -> NewStudy:
    """Look at data, every image and box of them, and write `params/STUDY/`, whole or not at all.

    Args:
        place: the folder of the data, or a COCO file, a table or YOLO's data.yaml.
        named: split -> the list, folder or file that it is; what is missing is looked for, else drawn from `train`.
        kind: which annotations to take where there are several.
        size: the longest side of the images in pixels; by default, one at which nine boxes in ten can be seen.
        seed: of the images that are drawn for splits that the data do not have.

    Raises:
        UserError: an existing study, a name that cannot be one, data that cannot be read, with a line for each fault.
    """
    target = paths.PARAMS / study
    try:
        TypeAdapter(Name).validate_python(study)
    except ValidationError:
        raise UserError(f"{study!r} cannot name a study: letters, digits and underscores are allowed") from None
    if target.exists():
        raise UserError(f"{target}: there is a study of this name")
    folder, layout, others = find(place, named or {}, kind)
    values: dict[str, Any] = {"kind": layout.kind, "folder": _portable(folder), **layout.values}
    if broken_images == "skip":
        values["broken_images"] = broken_images
    parted = part(values, seed)
    made = annotate(parted.params, parted.raw, f" of {folder}")
    require_usable(parted, made)
    classes = _occurring(parted.raw)
    statistics = Statistics.of(made["train"], len(classes), size)
    told = [
        said.found(folder, layout, parted, made, classes, others),
        *said.left(layout.left),
        *parted.notes,
        *said.absent(parted.raw.classes, classes),
        *said.unnamed(parted.raw),
        *said.faults(made),
        *said.proposal(statistics, made, parted.raw.classes, classes),
    ]
    partial = target.with_name(f".{study}.partial")
    content = {**parted.values, "resize": statistics.size}
    if classes != parted.raw.classes:
        content["classes"] = classes
    for name, text in slices(study, title or study.replace("_", " "), content, statistics).items():
        write_atomic(partial / name, text.encode())
    partial.rename(target)
    try:
        check(study)
    except UserError:
        shutil.rmtree(target)
        raise
    return NewStudy(target, told)


def _occurring(raw: Raw) -> list[str]:
    """The classes that have an object: exports add one that has none, and YOLO's names are often all of COCO's."""
    found = {each.name for images in raw.splits.values() for image in images for each in image.objects}
    return [name for name in raw.classes if name in found]


def _portable(folder: Path) -> str:
    """Relative to the project when it is inside, so that the study runs in another copy of it."""
    inside = os.path.relpath(folder)
    return Path(inside).as_posix() if not inside.startswith("..") else folder.resolve().as_posix()
