"""Data that can be read and still make no study: a split without an object that counts, boxes that are mostly none."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
        reasons = [each["reason"] for summary in summaries for each in summary["faults"] if each["done"] == "dropped"]
        most = Counter(reasons).most_common(1)[0][0]
        first = next(each for summary in summaries for each in summary["faults"] if each["reason"] == most)
        raise UserError(
            f"{parted.raw.root}: {dropped} of {dropped + taken} boxes are none, most of them for {most}, such as "
            f"{[round(side, 1) for side in first['box']]} in {first['image']}"
            + (f"; {CAUSES[most]}" if most in CAUSES else "")
        )
    for split in SPLITS:
        found = json.loads(made[split].content())["annotations"]
        if all(each["iscrowd"] for each in found):
            why = "all of its objects are crowd regions (iscrowd: 1)" if found else _why(parted.raw.splits[split])
            hint = "; another --seed draws others" if split in parted.drawn else ""
            images = counted(made[split].summary()["images"], "image")
            raise UserError(
                f"{parted.raw.root}: no object to learn or to measure in the {images} of {split}: {why}{hint}"
            )


def _why(images: Sequence[RawImage]) -> str:
    if any(image.objects for image in images):
        return "all of its boxes are dropped"
    if all(image.shares and not Path(image.where).exists() for image in images):
        return f"none has a text file, such as {images[0].where}"
    return f"its annotations have none, such as {images[0].where}"
