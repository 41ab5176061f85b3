"""Data that can be read and still make no study: a split without an object that counts, boxes that are mostly none."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detdistill.core.errors import UserError
from detdistill.data.reading import SPLITS, RawImage
from detdistill.new_study.parts import Parted
from detdistill.new_study.said import Made
from detdistill.report.numbers import counted

CAUSES = {
    "swapped corners": "they may be in another order than left, top, right and bottom, or be widths and heights",
    "outside the image": "they may be of images of another size, or in another order",
}
"""What is wrong with a box -> what is likely behind it, where that is so of many."""


def require_usable(parted: Parted, made: Made) -> None:
    """Raise UserError when more than a third of all boxes is dropped, or a split has no object but crowds."""
    summaries = [made[split].summary() for split in SPLITS]
    dropped, taken = (sum(each[key] for each in summaries) for key in ("dropped", "boxes"))
    if 2 * dropped > taken:
        named = [each for summary in summaries for each in summary["faults"] if each["done"] == "dropped"]
        raise UserError(f"{parted.raw.root}: {dropped} of {dropped + taken} boxes are none{_most(named)}")
    for split in SPLITS:
        found = json.loads(made[split].content())["annotations"]
        if all(each["iscrowd"] for each in found):
            why = "all of its objects are crowd regions (iscrowd: 1)" if found else _why(parted.raw.splits[split])
            hint = "; another --seed draws others" if split in parted.drawn else ""
            images = counted(made[split].summary()["images"], "image")
            raise UserError(
                f"{parted.raw.root}: no object to learn or to measure in the {images} of {split}: {why}{hint}"
            )


def _most(dropped: Sequence[dict[str, Any]]) -> str:
    """The reason that most have, the first that has it, and the cause; nothing where no fault is named."""
    for reason, _ in Counter(each["reason"] for each in dropped).most_common(1):
        first = next(each for each in dropped if each["reason"] == reason)
        cause = f"; {CAUSES[reason]}" if reason in CAUSES else ""
        box = [round(side, 1) for side in first["box"]]
        return f", most of them for {reason}, such as {box} in {first['image']}{cause}"
    return ""


def _why(images: Sequence[RawImage]) -> str:
    if any(image.objects for image in images):
        return "all of its boxes are dropped"
    if all(image.shares and not Path(image.where).exists() for image in images):
        return f"none has a text file, such as {images[0].where}"
    return f"its annotations have none, such as {images[0].where}"
