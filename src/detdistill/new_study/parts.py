"""The splits of data that have none, or not all: how `data.yaml` shall draw them, by image or by video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detdistill import data
from detdistill.data.hold_out import videos
from detdistill.data.reading import SPLITS, Raw, RawImage, Reading
from detdistill.new_study.twins import twins
from detdistill.report.numbers import counted

HELD_OUT = 0.15
"""Share of the training images that becomes each missing split."""
FEWEST = 3
"""Videos that can be told apart by file names; fewer are no splits."""


@dataclass(frozen=True)
class Parted:
    """`values` are those of `data.yaml`, `raw` the data that they give."""

    values: dict[str, Any]
    params: Reading
    raw: Raw
    drawn: list[str]
    """The splits that are drawn from `train`."""
    videos: int | None
    """How many are kept whole, or None where images are drawn one by one."""
    notes: list[str]


def part(values: dict[str, Any], seed: int) -> Parted:
    """Add `hold_out` for the splits that `values` do not say, and VOC's `first_pixel` where it is 0.

    Images of the same pixels stay together: the data step compares bytes alone, so `hold_out` names them. Videos stay
    whole where the names of most images tell at least three, and where each class then still has images to train with,
    and train at least half of them. Raises UserError for data that cannot be read.
    """
    drawn = [split for split in ("val", "test") if split not in values["splits"]]
    if drawn:
        values = {**values, "hold_out": {**dict.fromkeys(drawn, HELD_OUT), "seed": seed}}
    params, raw = _read(values)
    notes = []
    at_zero = [each.where for image in _images(raw) for each in image.objects if min(each.corners[:2]) == -1]
    if values["kind"] == "voc" and at_zero:
        values = {**values, "first_pixel": 0}
        params, raw = _read(values)
        told = counted(len(at_zero), "object begins", "objects begin")
        first = at_zero[0].removesuffix(": name")
        notes.append(f"{told} at 0 ({first}), so pixels count from 0; VOC's own is `first_pixel: 1` in data.yaml")
    if not drawn:
        return Parted(values, params, raw, drawn, None, notes)
    pool = [image.file for split in ("train", *drawn) for image in raw.splits[split]]  # type: ignore[index]
    if same := twins(pool, raw.root):
        values = {**values, "hold_out": {**values["hold_out"], "same": same}}
        params, raw = _read(values)
    found = videos(pool)
    if len(found) < 2 or 2 * sum(found.values()) < len(pool):
        return Parted(values, params, raw, drawn, None, notes)
    if len(found) >= FEWEST:
        whole = {**values, "hold_out": {**values["hold_out"], "together": "videos"}}
        params_whole, raw_whole = _read(whole)
        train = raw_whole.splits["train"]
        if 2 * len(train) >= len(pool) and _classes(train) == _classes(_images(raw)):
            return Parted(whole, params_whole, raw_whole, drawn, len(found), notes)
    told = (
        f"file names tell {len(found)} series with running numbers, too few or too uneven to be split whole, so images "
        "are drawn one by one; if these are videos, the test sees frames beside those of training, and flatters"
    )
    return Parted(values, params, raw, drawn, None, [*notes, told])


def _read(values: dict[str, Any]) -> tuple[Reading, Raw]:
    where = values["folder"]
    module, params = data.parsed(values, where)
    assert isinstance(params, Reading)
    return params, module.load(params, where)


def _images(raw: Raw) -> list[RawImage]:
    return [image for split in SPLITS for image in raw.splits[split]]


def _classes(images: Sequence[RawImage]) -> set[str]:
    return {each.name for image in images for each in image.objects}
