"""The same small images and boxes in the layouts in which people keep them, for the tests of `study new`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from small_data import BOXES, CLASSES, HEIGHT, WIDTH, pictures, voc_xml

NAMES = [f"cell{number}" for number in range(14)]
PARTS = {"train": NAMES[:8], "val": NAMES[8:11], "test": NAMES[11:]}


def images(folder: Path, names: Sequence[str]) -> Path:
    """JPEG files of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(NAMES, pictures(), strict=True):
        if name in names:
            picture.save(folder / f"{name}.jpg", quality=95)
    return folder


def xmls(folder: Path, names: Sequence[str]) -> None:
    """VOC files, whose first pixel is 1."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = [(name, (x0 + 1, y0 + 1, x1, y1)) for name, (x0, y0, x1, y1) in zip(CLASSES, BOXES, strict=True)]
    for name in names:
        (folder / f"{name}.xml").write_text(voc_xml(objects))


def coco(file: Path, names: Sequence[str]) -> None:
    """One COCO file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    size = {"width": WIDTH, "height": HEIGHT}
    content = {
        "images": [{"id": row, "file_name": f"{name}.jpg", **size} for row, name in enumerate(names)],
        "annotations": [
            {"id": 2 * row + label, "image_id": row, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for row in range(len(names))
            for label, (x0, y0, x1, y1) in enumerate(BOXES)
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(CLASSES)],
    }
    file.write_text(json.dumps(content))


def texts(folder: Path, names: Sequence[str]) -> None:
    """YOLO's text files: the first object as a box, the second one as a polygon."""
    folder.mkdir(parents=True, exist_ok=True)
    (x0, y0, x1, y1), (a, b, c, d) = BOXES
    box = (x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT
    polygon = [a / WIDTH, d / HEIGHT, c / WIDTH, d / HEIGHT, (a + c) / 2 / WIDTH, b / HEIGHT]
    lines = [" ".join(map(str, [label, *numbers])) for label, numbers in enumerate((box, polygon))]
    for name in names:
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def table(file: Path, names: Sequence[str], header: bool, folder: str = "") -> None:
    """A CSV table."""
    rows = [
        f"{folder}{name}.jpg,{WIDTH},{HEIGHT},{label},{x0},{y0},{x1},{y1}"
        if header
        else f"{folder}{name}.jpg,{x0},{y0},{x1},{y1},{label}"
        for name in names
        for label, (x0, y0, x1, y1) in zip(CLASSES, BOXES, strict=True)
    ]
    file.write_text("\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax"] * header + rows) + "\n")


def voc_annots(root: Path) -> None:
    images(root / "images", NAMES)
    xmls(root / "annots", NAMES)


def voc_lists(root: Path) -> None:
    images(root / "JPEGImages", NAMES)
    xmls(root / "annotations", NAMES)
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("\n".join(NAMES[:11]))
    (lists / "test.txt").write_text("\n".join(NAMES[11:]))
    (lists / "RBC_test.txt").write_text("\n".join(NAMES[11:]))


def voc_export(root: Path) -> None:
    for split, names in PARTS.items():
        xmls(images(root / split.replace("val", "valid"), names), names)


def coco_whole(root: Path) -> None:
    images(root / "images", NAMES)
    coco(root / "labels.json", NAMES)
    (root / "notes.json").write_text("{}")


def coco_export(root: Path) -> None:
    for split, names in PARTS.items():
        coco(images(root / split.replace("val", "valid"), names) / "_annotations.coco.json", names)


def coco_linked(root: Path) -> None:
    """Its images are a link out of the folder, beside a link back into it."""
    root.mkdir()
    (root / "images").symlink_to(images(root.parent / "elsewhere/photos", NAMES).absolute())
    (root / "again").symlink_to(root.absolute())
    coco(root / "instances.json", NAMES)


def yolo_described(root: Path) -> None:
    for split, names in PARTS.items():
        images(root / "images" / split, names)
        texts(root / "labels" / split, names)
    said = "path: ../datasets/cells\ntrain: images/train\nval: images/val\ntest: images/test\nnc: 2\n"
    (root / "data.yaml").write_text(said + f"names: {dict(enumerate(CLASSES))}\n")


def yolo_export(root: Path) -> None:
    for split, names in PARTS.items():
        images(root / split.replace("val", "valid") / "images", names)
        texts(root / split.replace("val", "valid") / "labels", names)
    said = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{said}names: {list(CLASSES)}\n")


def yolo_whole(root: Path) -> None:
    images(root / "images", NAMES)
    texts(root / "labels", NAMES)
    (root / "labels/classes.txt").write_text("\n".join(CLASSES))


def csv_header(root: Path) -> None:
    images(root / "images", NAMES)
    table(root / "annotations.csv", NAMES, header=True)


def csv_plain(root: Path) -> None:
    images(root / "images", NAMES)
    table(root / "annotations.csv", NAMES, header=False, folder="images/")
    (root / "classes.csv").write_text("RBC,0\nWBC,1\n")


def csv_column(root: Path) -> None:
    images(root / "images", NAMES)
    table(root / "all.csv", NAMES, header=True)
    parts = {name: split.replace("val", "validation") for split, names in PARTS.items() for name in names}
    head, *rows = (root / "all.csv").read_text().splitlines()
    rows = [f"{row},{parts[row.partition('.')[0]]}" for row in rows]
    (root / "all.csv").write_text("\n".join([f"{head},Split", *rows]))


def voc_loose(root: Path) -> None:
    """Lists of splits in the folder itself, one with names of files in it."""
    images(root / "JPEGImages", NAMES)
    xmls(root / "Annotations", NAMES)
    for split, names in PARTS.items():
        (root / f"{split}.txt").write_text(
            "\n".join(f"JPEGImages/{name}.jpg" if split == "val" else name for name in names)
        )


def voc_without_main(root: Path) -> None:
    voc_loose(root)
    (root / "ImageSets").mkdir()
    for split in PARTS:
        (root / f"{split}.txt").rename(root / f"ImageSets/{split}.txt")


def csv_parts(root: Path) -> None:
    images(root / "images", NAMES)
    for split, names in PARTS.items():
        table(root / f"{split}_labels.csv", names, header=True)


WHOLE: dict[str, Callable[[Path], None]] = {
    "voc_annots": voc_annots,
    "coco_whole": coco_whole,
    "coco_linked": coco_linked,
    "yolo_whole": yolo_whole,
    "csv_header": csv_header,
    "csv_plain": csv_plain,
}
"""Those without splits."""
SPLIT: dict[str, Callable[[Path], None]] = {
    "voc_export": voc_export,
    "coco_export": coco_export,
    "yolo_described": yolo_described,
    "yolo_export": yolo_export,
    "csv_parts": csv_parts,
    "csv_column": csv_column,
    "voc_loose": voc_loose,
    "voc_without_main": voc_without_main,
}
