"""A small VOC and a small COCO folder of real images, for the tests that read, download and set up data."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

WIDTH, HEIGHT = 160, 120
CLASSES = ("RBC", "WBC")
SPLITS = {"train": 8, "val": 3, "test": 3}
BOXES = ((10, 20, 50, 70), (60, 30, 140, 110))  # corners; the first is an RBC, the second a WBC


def pictures() -> list[Image.Image]:
    """Blood cells from the folder of DETDISTILL_SHARED, else crops of scikit-learn's photographs."""
    count = sum(SPLITS.values())
    folder = Path(os.environ.get("DETDISTILL_SHARED", "none"), "data", "bccd", "JPEGImages")
    if folder.is_dir():
        originals = [Image.open(file) for file in sorted(folder.iterdir())[:count]]
    else:
        photos = [Image.fromarray(photo) for photo in load_sample_images().images]
        originals = [photos[each % 2].crop((20 * each, 0, 20 * each + 320, 240)) for each in range(count)]
    return [original.convert("RGB").resize((WIDTH, HEIGHT)) for original in originals]


def voc_xml(objects: Sequence[tuple[str, Sequence[object]]], size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    """An annotation with one (name, corners) an object."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    body = "".join(
        f"<object><name>{name}</name><difficult>{int(row == 1)}</difficult><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, corners, strict=True))
        + "</bndbox></object>"
        for row, (name, corners) in enumerate(objects)
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{body}</annotation>"


def make_voc(root: Path) -> Path:
    """Annotations, ImageSets/Main and JPEGImages with two objects an image, the second one difficult."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    left = list(enumerate(pictures()))
    for split, count in SPLITS.items():
        names = []
        for number, picture in left[:count]:
            names.append(f"img{number}")
            picture.save(root / "JPEGImages" / f"img{number}.jpg", quality=95)
            content = voc_xml(list(zip(CLASSES, BOXES, strict=True)))
            (root / "Annotations" / f"img{number}.xml").write_text(content)
        left = left[count:]
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def make_coco(root: Path) -> Path:
    """annotations/instances_SPLIT.json and a folder of images a split; ids with gaps, the second object a crowd."""
    (root / "annotations").mkdir(parents=True)
    left = list(enumerate(pictures()))
    for split, count in SPLITS.items():
        (root / split).mkdir()
        images, annotations = [], []
        for number, picture in left[:count]:
            picture.save(root / split / f"{number:03d}.jpg", quality=95)
            file = {"id": 100 + number, "file_name": f"{number:03d}.jpg", "width": WIDTH, "height": HEIGHT}
            images.append(file)
            for row, (x0, y0, x1, y1) in enumerate(BOXES):
                box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": 1000.5, "category_id": (7, 3)[row], "iscrowd": row}
                annotations.append({"id": 10 * number + row, "image_id": 100 + number, "segmentation": [], **box})
        left = left[count:]
        categories = [{"id": 7, "name": CLASSES[0]}, {"id": 3, "name": CLASSES[1]}]
        content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
