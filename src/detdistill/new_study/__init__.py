"""A study of the user's own data: its parameters, sized by the data's own statistics, ready to run and to edit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from detdistill.check import check
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.core.params import Name, parse
from detdistill.data import coco, voc
from detdistill.data.reading import Raw, SplitName
from detdistill.new_study.find import coco_splits, voc_splits
from detdistill.new_study.slices import slices
from detdistill.new_study.statistics import Statistics

HELD_OUT = 0.15
"""Share of the training images that become the validation split of data without one."""


def new(
    study: str,
    kind: Literal["coco", "voc"],
    folder: Path,
    splits: dict[SplitName, str],
    size: int | None = None,
    title: str | None = None,
) -> Path:
    """Write `params/STUDY/`, whole or not at all, and return it.

    Args:
        splits: split -> image set (VOC) or `ANNOTATIONS` or `ANNOTATIONS:IMAGES` below the folder (COCO); what is
            missing is looked for.
        size: the longest side of the images in pixels; by default, one at which nine boxes in ten can be seen.

    Raises:
        UserError: an existing study, a name that cannot be one, a split that is not found, data that cannot be read.
    """
    target = paths.PARAMS / study
    try:
        TypeAdapter(Name).validate_python(study)
    except ValidationError:
        raise UserError(f"{study!r} cannot name a study: letters, digits and underscores are allowed") from None
    if target.exists():
        raise UserError(f"{target}: there is a study of this name")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    values: dict[str, Any] = {"kind": kind, "folder": _portable(folder)}
    if kind == "voc":
        values["splits"] = {name: [chosen] for name, chosen in voc_splits(folder, splits).items()}
    else:
        values["splits"] = coco_splits(folder, splits)
    if "val" not in values["splits"]:
        values["hold_out"] = 1
    raw = _read(values)
    if kind == "voc" and any(min(corners[:2]) == -1 for corners in _corners(raw)):
        values["first_pixel"] = 0
        raw = _read(values)
    if "hold_out" in values:
        values["hold_out"] = max(1, round(HELD_OUT * len(raw.splits["train"])))
        raw = _read(values)
    statistics = Statistics.of(raw, size)
    values["resize"] = statistics.size
    partial = target.with_name(f".{study}.partial")
    for name, content in slices(study, title or study.replace("_", " "), values, statistics).items():
        write_atomic(partial / name, content.encode())
    partial.rename(target)
    check(study)
    return target


def _read(values: dict[str, Any]) -> Raw:
    where = values["folder"]
    if values["kind"] == "voc":
        return voc.load(parse(voc.Params, values, where), where)
    return coco.load(parse(coco.Params, values, where), where)


def _corners(raw: Raw) -> Iterator[tuple[float, float, float, float]]:
    return (each.corners for images in raw.splits.values() for image in images for each in image.objects)


def _portable(folder: Path) -> str:
    """Relative to the project when it is inside, so that the study runs in another copy of it."""
    inside = os.path.relpath(folder)
    return Path(inside).as_posix() if not inside.startswith("..") else folder.resolve().as_posix()
