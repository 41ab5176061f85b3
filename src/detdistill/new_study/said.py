"""What `study new` says of the data that it looked at, of what it proposes, and of what to expect from that."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdistill.data.reading import SPLITS, SUFFIXES, Raw, SplitName
from detdistill.dataset.prepared import Annotations
from detdistill.new_study.layouts.layout import Kind, Layout
from detdistill.new_study.parts import HELD_OUT, Parted
from detdistill.new_study.statistics import SMALLEST, Statistics
from detdistill.report.limitations import ROOM
from detdistill.report.numbers import counted, listing

CLASSES_NAMED = 5
FAULTS_NAMED = 5
FEW_BOXES = 20
"""Objects of a class in the training images, or in those of the test, below which its figures say little."""

Made = Mapping[SplitName, Annotations]


def found(place: Path, layout: Layout, parted: Parted, made: Made, names: Sequence[str], others: Sequence[Kind]) -> str:
    """What the data are and how they are split."""
    counts = {split: made[split].summary()["images"] for split in SPLITS}
    classes = counted(len(names), "class", "classes") + (
        f" ({', '.join(names)})" if len(names) <= CLASSES_NAMED else ""
    )
    told = f"{place}: {counted(sum(counts.values()), 'image')}, {layout.said}, {classes}, {_splits(parted)}: "
    told += listing([f"{count} {split}" for split, count in counts.items()])
    return told + "".join(f"; also {kind}, which --kind {kind} takes instead" for kind in others)


def left(names: Sequence[str]) -> list[str]:
    """What became no split, though it could be one."""
    if not names:
        return []
    return [f"left out, though it could be a split: {', '.join(names)}; --train, --val and --test can say otherwise"]


def absent(said: Sequence[str], occurring: Sequence[str]) -> list[str]:
    """The classes that the data name and that have no object."""
    gone = [name for name in said if name not in occurring]
    if not gone:
        return []
    more = f" and {len(gone) - CLASSES_NAMED} more" if len(gone) > CLASSES_NAMED else ""
    count = counted(len(gone), "class", "classes")
    return [f"left out, for want of any object: {count}, {', '.join(gone[:CLASSES_NAMED])}{more}"]


def unnamed(raw: Raw) -> list[str]:
    """The images beside those that are read, which no annotation of these splits names."""
    files = {image.file for images in raw.splits.values() for image in images}
    beside = {
        file.relative_to(raw.root).as_posix()
        for folder in {Path(file).parent for file in files}
        if (raw.root / folder).is_dir()
        for file in (raw.root / folder).iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    }
    if not (gone := sorted(beside - files)):
        return []
    more = f" and {len(gone) - FAULTS_NAMED} more" if len(gone) > FAULTS_NAMED else ""
    told = counted(len(gone), "image that no annotation names is", "images that no annotation names are")
    return [f"{told} left out: {', '.join(gone[:FAULTS_NAMED])}{more}"]


def faults(made: Made) -> list[str]:
    """Images that are left out and boxes that are not taken as they are, counted, the first of them named."""
    told = []
    gone = [each for split in SPLITS for each in made[split].summary().get("skipped", [])]
    if gone:
        told += [f"{counted(len(gone), 'image')} left out:"] + [f"  {each['image']}: {each['reason']}" for each in gone]
    for done in ("dropped", "clipped"):
        count = sum(made[split].summary()[done] for split in SPLITS)
        named = [each for split in SPLITS for each in made[split].summary()["faults"] if each["done"] == done]
        if count:
            first = "; ".join(f"{each['image']}: {each['reason']}" for each in named[:FAULTS_NAMED])
            more = f"; the manifest names {'more' if count > FAULTS_NAMED else 'them'}"
            told.append(f"{counted(count, 'box', 'boxes')} {done} ({first}{more})")
    empty = sum(_empty(made[split]) for split in SPLITS)
    if empty:
        told.append(f"{counted(empty, 'image')} without an object, taken as background")
    return told


def proposal(found: Statistics, made: Made, classes: Sequence[str], names: Sequence[str]) -> list[str]:
    """Sizes and lengths that are proposed, and what they let one expect; `names` are those of `classes` that occur."""
    told = [
        f"proposed: images of {found.size} pixels, where nine boxes in ten have {found.smallest:g}; "
        f"{found.teacher_steps} steps for a teacher, {found.student_steps} for a student, three seeds, five recipes; "
        f"about {found.minutes:.0f} minutes on two cores"
    ]
    if found.size < found.whole_size:
        told.append(
            f"expect little of the smallest objects: {SMALLEST} pixels are aimed at, and --size {found.whole_size} has "
            "them, for a longer study"
        )
    test = made["test"].summary()
    rare = [
        f"{name} ({train} and {tested})"
        for name, train, tested in zip(
            classes, made["train"].summary()["boxes_per_class"], test["boxes_per_class"], strict=True
        )
        if name in names and (train < FEW_BOXES or tested < FEW_BOXES)
    ]
    if rare:
        told.append(
            f"few objects to train and test with, so that their AP says little: {listing(rare[:CLASSES_NAMED])}"
            + (f" and {len(rare) - CLASSES_NAMED} more classes" if len(rare) > CLASSES_NAMED else "")
        )
    told.append(
        f"expect a gain where a teacher ends {100 * ROOM:g} points or more above its plain student; the report says of "
        "each pair whether it does, and why not; steps and widths in params/ are yours to change"
    )
    return told


def _splits(parted: Parted) -> str:
    drawn = parted.drawn
    if not drawn:
        return "splits as they are"
    share, seed = round(100 * HELD_OUT), parted.values["hold_out"]["seed"]
    whole = f", the frames of {parted.videos} videos kept together" if parted.videos else ""
    if len(drawn) == 2:
        said = f"no splits: {100 - 2 * share}/{share}/{share} by seed {seed}"
    else:
        said = f"no split for {drawn[0]}: {share} % of train by seed {seed}"
    return f"{said}{whole}, written into the params"


def _empty(noted: Annotations) -> int:
    content = json.loads(noted.content())
    return len({each["id"] for each in content["images"]} - {each["image_id"] for each in content["annotations"]})
