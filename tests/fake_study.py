"""A complete study of MADE-UP numbers in the formats of the real steps: for the layout and tests of the report only.

No figure in here was measured and no model was trained.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

from detdistill.core import paths
from detdistill.dataset.prepared import digest_of

STUDY = "fake"
CLASSES = [str(digit) for digit in range(10)]
WIDTH, HEIGHT = 128, 96
STEPS = 2000
BATCH = 8

# pair -> (teacher AP50, plain AP50, gain of the longer schedule)
PAIRS = {
    "faster_rcnn": (0.712, 0.450, 0.018),
    "retinanet": (0.668, 0.421, 0.022),
    "rt_detr": (0.584, 0.395, 0.031),
}
ENGINES = {"faster_rcnn": "torchvision", "retinanet": "torchvision", "rt_detr": "transformers"}
# pair -> recipe -> (methods, code, made-up gain in AP50, core time over plain)
RECIPES: dict[str, dict[str, tuple[dict[str, dict[str, float]], str, float, float]]] = {
    "faster_rcnn": {
        "fitnets": ({"fitnets": {"weight": 1.0}}, "cnn/backbone/fitnets.py", 0.004, 1.30),
        "pkd": ({"pkd": {"weight": 6.0}}, "cnn/neck/pkd.py", 0.045, 1.32),
        "fgd": ({"fgd": {"foreground": 5e-5, "background": 2.5e-5}}, "cnn/neck/fgd.py", 0.021, 1.41),
        "chen": ({"chen": {"cls": 1.0, "reg": 0.5}}, "cnn/rpn_roi/chen.py", 0.058, 1.44),
        "mimic": ({"mimic": {"weight": 1.0}}, "cnn/rpn_roi/mimic.py", -0.031, 1.38),
        "pkd_chen": ({"pkd": {"weight": 6.0}, "chen": {"cls": 1.0, "reg": 0.5}}, "cnn", 0.081, 1.47),
    },
    "retinanet": {
        "pkd": ({"pkd": {"weight": 10.0}}, "cnn/neck/pkd.py", 0.038, 1.28),
        "fgd": ({"fgd": {"foreground": 1e-3, "background": 5e-4}}, "cnn/neck/fgd.py", 0.012, 1.35),
        "crosskd": ({"crosskd": {"cls": 1.0, "reg": 1.0}}, "cnn/head/crosskd.py", 0.034, 1.39),
    },
    "rt_detr": {
        "kd_detr": ({"kd_detr": {"weight": 1.0, "temperature": 10.0}}, "transformer/query/kd_detr.py", 0.052, 1.61),
        "queries": ({"detrdistill_queries": {}}, "transformer/query/detrdistill_queries.py", 0.018, 1.55),
        "features": ({"detrdistill_features": {}}, "transformer/feature/detrdistill_features.py", 0.024, 1.35),
        "clockdistill": ({"clockdistill": {"weight": 2.0}}, "transformer/feature/clockdistill.py", 0.041, 1.33),
        "logits": ({"detrdistill_logits": {}}, "transformer/logit/detrdistill_logits.py", 0.029, 1.42),
        "d3etr": ({"d3etr": {"weight": 1.0}}, "transformer/logit/d3etr.py", -0.012, 1.46),
    },
}
# pair of the student -> recipe -> (pair of the teacher, and the same four)
ACROSS: dict[str, dict[str, tuple[str, dict[str, dict[str, float]], str, float, float]]] = {
    "rt_detr": {"pkd_cnn": ("faster_rcnn", {"pkd": {"weight": 6.0}}, "cnn/neck/pkd.py", 0.036, 1.22)},
    "retinanet": {"fitnets_detr": ("rt_detr", {"fitnets": {}}, "cnn/backbone/fitnets.py", 0.009, 1.51)},
}
# What the manifest says of boxes that the raw data have wrong.
FAULTS: dict[str, Any] = {
    "dropped": 1,
    "clipped": 1,
    "faults": [
        {"image": "train-00007.png", "box": [3.0, 4.0, 0.0, 9.0], "reason": "no width", "done": "dropped"},
        {"image": "train-00011.png", "box": [90.0, 8.0, 20.0, 20.0], "reason": "outside the image", "done": "clipped"},
    ],
}
# In the code, but in no recipe.
UNUSED = ("cnn/neck/cwd.py", "cnn/neck/mgd.py", "cnn/rpn_roi/dkd.py")
MACHINE = {"cpu": "Made-up CPU", "cores": 2, "memory_bytes": 8 * 2**30, "platform": "Linux", "python": "3.11.9"}
VERSIONS = {"detdistill": "0.1.0", "numpy": "2.3.0", "torch": "2.14.1", "torchvision": "0.29.1"}


def make(root: Path, seeds: tuple[int, ...] = (0, 1), pairs: tuple[str, ...] = tuple(PAIRS)) -> None:
    """Write params, data, code folders and the outputs of every run of the study `fake` under `root`."""
    draw = random.Random(7)
    _params(root, seeds, pairs)
    _code(root)
    val = _data(root, draw)
    for pair in pairs:
        teacher, plain, longer = PAIRS[pair]
        _run(root, draw, val, pair, "teacher", 0, teacher, STEPS, 460.0, big=True)
        _run(root, draw, val, pair, "start", 0, plain / 2, STEPS // 2, 60.0)
        for seed in seeds:
            base = plain + draw.gauss(0, 0.008)
            _run(root, draw, val, pair, "plain", seed, base, STEPS, 120.0)
            _run(root, draw, val, pair, "plain_long", seed, base + longer + draw.gauss(0, 0.004), STEPS * 3 // 2, 180.0)
            for recipe, (_, _, gain, overhead) in _recipes(pair, pairs).items():
                reached = base + gain + draw.gauss(0, 0.006)
                _run(root, draw, val, pair, recipe, seed, reached, STEPS, 120.0 * overhead)


def _across(pair: str, pairs: tuple[str, ...]) -> dict[str, tuple[str, dict[str, dict[str, float]], str, float, float]]:
    """The recipes of a student whose teacher is another of the pairs that the study has."""
    return {recipe: each for recipe, each in ACROSS.get(pair, {}).items() if each[0] in pairs}


def _recipes(pair: str, pairs: tuple[str, ...]) -> dict[str, tuple[dict[str, dict[str, float]], str, float, float]]:
    return RECIPES[pair] | {recipe: each[1:] for recipe, each in _across(pair, pairs).items()}


def code_root(root: Path) -> Path:
    """Where the made-up code folders lie: stands in for `src/detdistill/distill`."""
    return root / "code"


def _code(root: Path) -> None:
    for code in (*UNUSED, *(code for recipes in RECIPES.values() for _, code, _, _ in recipes.values())):
        if code.endswith(".py"):
            file = code_root(root) / code
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


def _params(root: Path, seeds: tuple[int, ...], pairs: tuple[str, ...]) -> None:
    def put(value: Any, *slice_: str) -> None:
        path = root / paths.params(STUDY, *slice_)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(value, sort_keys=False))

    def run(pair: str, recipe: str, **more: str) -> dict[str, str]:
        return {"pair": pair, "engine": ENGINES[pair], "recipe": recipe, **more}

    nothing = paths.data(STUDY, "manifest.json").as_posix()
    study = {
        "study": STUDY,
        "title": "Made-up numbers, to look at the layout",
        "seeds": list(seeds),
        "pairs": [
            {"pair": pair, "engine": ENGINES[pair], "teacher_from": nothing, "student_from": nothing} for pair in pairs
        ],
        "plain": [run(pair, recipe) for pair in pairs for recipe in ("plain", "plain_long")],
        "distilled": [run(p, recipe, code=each[1]) for p in pairs for recipe, each in RECIPES[p].items()],
        "across": [
            run(p, recipe, code=each[2], teacher=each[0], teacher_engine=ENGINES[each[0]])
            for p in pairs
            for recipe, each in _across(p, pairs).items()
        ],
    }
    put(study, "study")
    put({"kind": "digits", "train": 4000}, "data")
    for pair in pairs:
        for side, widths, lr in (("teacher", [32, 64, 128], 2e-3), ("student", [8, 16, 32], 3e-3)):
            detector = {"kind": pair, "widths": widths, "blocks": 2, "neck_channels": 16}
            detector |= {"anchors": [12, 22, 40]} if ENGINES[pair] == "torchvision" else {"queries": 30, "layers": 2}
            put({"detector": detector, "training": {"steps": STEPS, "batch": BATCH, "lr": lr}}, pair, side)
        put({"schedule_factor": 0.5}, pair, "start")
        put({}, pair, "plain")
        put({"schedule_factor": 1.5}, pair, "plain_long")
        for recipe, (methods, _, _, _) in _recipes(pair, pairs).items():
            put({"methods": methods}, pair, recipe)


def _data(root: Path, draw: random.Random) -> dict[str, Any]:
    images = root / paths.data(STUDY, "images")
    images.mkdir(parents=True)
    noise = np.random.default_rng(3)
    records, boxes = [], []
    for index in range(8):
        name = f"val-{index:05d}.png"
        coarse = noise.integers(40, 215, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        records.append({"id": index + 1, "file_name": name, "width": WIDTH, "height": HEIGHT, "sha256": "0" * 64})
        for _ in range(draw.randint(4, 6)):
            side, x, y = draw.randint(16, 34), draw.randint(0, WIDTH - 36), draw.randint(0, HEIGHT - 36)
            label = draw.randrange(len(CLASSES))
            shade = tuple(draw.randint(0, 255) for _ in range(3))
            ImageDraw.Draw(picture).text((x + side / 4, y), CLASSES[label], fill=shade, font_size=side)
            box = {"bbox": [float(x), float(y), float(side), float(side)], "area": float(side * side)}
            flags = {"iscrowd": 0, "difficult": 0}
            boxes.append({"id": len(boxes) + 1, "image_id": index + 1, "category_id": label + 1, **box, **flags})
        picture.save(images / name)
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    val = {"images": records, "annotations": boxes, "categories": categories}
    _json(root / paths.data(STUDY, "val.json"), val)
    splits = {
        split: {
            "annotations": f"{split}.json",
            "sha256": "0" * 64,
            "images": count,
            "boxes": count * 7 // 2,
            "boxes_per_class": [count * 7 // (2 * len(CLASSES))] * len(CLASSES),
            **(FAULTS if split == "train" else {}),
        }
        for split, count in (("train", 4000), ("val", 500), ("test", 500))
    }
    manifest = {
        "study": STUDY,
        "kind": "digits",
        "classes": CLASSES,
        "splits": splits,
        "digest": digest_of({split: "0" * 64 for split in splits}),
    }
    _json(root / paths.data(STUDY, "manifest.json"), manifest)
    _json(root / paths.data(STUDY, "timing.json"), _timing("data", 9.0, None))
    return val


def _run(
    root: Path,
    draw: random.Random,
    val: dict[str, Any],
    pair: str,
    recipe: str,
    seed: int,
    ap50: float,
    steps: int,
    core_seconds: float,
    big: bool = False,
) -> None:
    def put(name: str, value: Any) -> None:
        _json(root / paths.run(STUDY, pair, recipe, seed, name), value)

    verb = recipe if recipe == "teacher" else "student" if recipe.startswith("plain") else "distill"
    put("timing.json", _timing(verb, core_seconds * draw.uniform(0.98, 1.02), steps * BATCH / core_seconds))
    points = range(250, steps + 1, 250)
    curve = [(step, ap50 * (1 - 2.7 ** (-4.5 * step / steps)) + draw.gauss(0, 0.006)) for step in points]
    put(
        "learning.json",
        [{"step": step, "AP": reached / 2, "AP50": reached, "images": step * BATCH} for step, reached in curve],
    )
    split = _split(ap50, draw)
    metrics = {
        "pair": pair,
        "recipe": recipe,
        "seed": seed,
        "engine": ENGINES[pair],
        "parameters": 1_104_210 if big else 64_310,
        "flops": 412_000_000 if big else 31_500_000,
        "image_size": [HEIGHT, WIDTH],
        "checkpoint_bytes": 4_430_000 if big else 270_000,
        "val": _split(ap50 + 0.004, draw),
        "test": split,
        "absent": {"test.AP_large": "no object of that size in the split"},
    }
    put("metrics.json", metrics)
    latency = {"milliseconds_per_image": 21.4 if big else 6.2, "p90": 23.0 if big else 7.0}
    put("latency.json", {**latency, "batch": 1, "threads": 1, "repeats": 50, **_timing("evaluate", 11.0, None)})
    put("detections.json", {"images": [_detections(image, val, draw, ap50) for image in val["images"]]})


def _split(ap50: float, draw: random.Random) -> dict[str, Any]:
    per_class = {name: (ap50 + draw.gauss(0, 0.04)) for name in CLASSES}
    return {
        "AP": ap50 * 0.52,
        "AP50": ap50,
        "AP75": ap50 * 0.48,
        "AP_small": ap50 * 0.5,
        "AP_medium": ap50 * 0.56,
        "AP_large": None,
        "AR100": ap50 * 0.7,
        "per_class": {name: {"AP": value / 2, "AP50": value} for name, value in per_class.items()},
        "voc": {"AP50_area": ap50 + 0.008, "AP50_11point": ap50 + 0.011},
        "images": 500,
        "boxes": 1750,
    }


def _detections(image: dict[str, Any], val: dict[str, Any], draw: random.Random, ap50: float) -> dict[str, Any]:
    found: dict[str, list[Any]] = {"boxes": [], "scores": [], "labels": []}
    for box in val["annotations"]:
        if box["image_id"] != image["id"] or draw.random() > ap50 + 0.25:
            continue
        x, y, width, height = (value + draw.gauss(0, 1.5) for value in box["bbox"])
        found["boxes"].append([x, y, x + width, y + height])
        found["scores"].append(draw.uniform(0.4, 0.99))
        found["labels"].append(box["category_id"] - 1 if draw.random() < 0.85 else draw.randrange(len(CLASSES)))
    return {"image_id": image["id"], "file_name": image["file_name"], **found}


def _timing(step: str, core_seconds: float, images_per_second: float | None) -> dict[str, Any]:
    training = {"training_core_seconds": 0.95 * core_seconds, "images_per_second": images_per_second}
    return {
        "step": step,
        "wall_seconds": core_seconds * 1.04,
        "core_seconds": core_seconds,
        "peak_memory_bytes": 720 * 2**20,
        "machine": MACHINE,
        "versions": VERSIONS,
        **(training if images_per_second else {}),
    }


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, allow_nan=False))
