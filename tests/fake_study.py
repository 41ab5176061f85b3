"""A complete study of MADE-UP numbers in the formats of the real steps: for the layout and tests of the report only.

No figure in here was measured and no model was trained. A run's numbers depend on its own pair, recipe and seed, so
that studies of different seeds are draws from one truth.
"""

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw

from detdistill.core import paths, record
from detdistill.dataset.prepared import Annotations, manifest_of
from detdistill.evaluate import maps, predictions

STUDY = "fake"
IMAGES = {"train": 2, "val": 8, "test": 12}
STEPS = 2000
BATCH = 8
SPREAD = 0.006
"""Of a seed, in AP50."""

# pair -> (teacher AP50, plain AP50, gain of the double schedule)
PAIRS = {
    "faster_rcnn": (0.832, 0.605, 0.098),
    "retinanet": (0.736, 0.421, 0.082),
    "rt_detr": (0.684, 0.495, 0.051),
}
ENGINES = {"faster_rcnn": "torchvision", "retinanet": "torchvision", "rt_detr": "transformers"}
# pair -> recipe -> (methods, made-up gain in AP50, core time over plain)
RECIPES: dict[str, dict[str, tuple[dict[str, dict[str, float]], float, float]]] = {
    "faster_rcnn": {
        "fitnets": ({"fitnets": {"weight": 1.0}}, 0.002, 1.30),
        "pkd": ({"pkd": {"weight": 6.0}}, 0.045, 1.32),
        "fgd": ({"fgd": {"foreground": 5e-5, "background": 2.5e-5}}, 0.021, 1.41),
        "chen": ({"chen": {"cls": 1.0, "reg": 0.5}}, -0.031, 1.44),
        "mimic": ({"mimic": {"weight": 1.0}}, 0.131, 1.38),
        "pkd_chen": ({"pkd": {"weight": 6.0}, "chen": {"cls": 1.0, "reg": 0.5}}, 0.081, 1.47),
    },
    "retinanet": {
        "pkd": ({"pkd": {"weight": 10.0}}, 0.038, 1.28),
        "fgd": ({"fgd": {"foreground": 1e-3, "background": 5e-4}}, 0.012, 1.35),
        "crosskd": ({"crosskd": {"cls": 1.0, "reg": 1.0}}, 0.144, 2.39),
    },
    "rt_detr": {
        "kd_detr": ({"kd_detr": {"weight": 1.0, "temperature": 10.0}}, 0.052, 1.61),
        "queries": ({"detrdistill_queries": {}}, 0.018, 1.55),
        "features": ({"detrdistill_features": {}}, 0.024, 1.35),
        "clockdistill": ({"clockdistill": {"weight": 2.0}}, 0.041, 1.33),
        "logits": ({"detrdistill_logits": {}}, 0.029, 1.42),
        "d3etr": ({"d3etr": {"weight": 1.0}}, -0.004, 1.46),
    },
}
# pair of the student -> recipe -> (pair of the teacher, and the same three)
ACROSS: dict[str, dict[str, tuple[str, dict[str, dict[str, float]], float, float]]] = {
    "rt_detr": {"pkd_cnn": ("faster_rcnn", {"pkd": {"weight": 6.0}}, 0.036, 1.22)},
    "retinanet": {"fitnets_detr": ("rt_detr", {"fitnets": {}}, 0.009, 1.51)},
}
# pair -> recipe -> (what it is like, made-up gain over the plain student of the double schedule, core time over it)
LONGER = {"faster_rcnn": {"mimic_2x": ("mimic", 0.061, 1.35), "pkd_2x": ("pkd", 0.012, 1.30)}}
# What the manifest says of boxes that the raw data have wrong.
FAULTS: dict[str, Any] = {
    "dropped": 1,
    "clipped": 1,
    "faults": [
        {"image": "train-00007.png", "box": [3.0, 4.0, 0.0, 9.0], "reason": "no width", "done": "dropped"},
        {"image": "train-00011.png", "box": [90.0, 8.0, 20.0, 20.0], "reason": "outside the image", "done": "clipped"},
    ],
}
MACHINE = {"cpu": "Made-up CPU", "cores": 2, "memory_bytes": 8 * 2**30, "platform": "Linux", "python": "3.11.9"}
VERSIONS = {"detdistill": "0.1.0", "numpy": "2.3.0", "torch": "2.14.1", "torchvision": "0.29.1"}
UNSEEN = ("data", "torchvision")
"""A step, and a package that it does not import."""
Objects = list[list[tuple[tuple[float, float, float, float], int]]]
"""Of each image: box x, y, width, height, and label."""


@dataclass(frozen=True)
class Data:
    """What the images are like; the last `absent` classes have no object."""

    classes: tuple[str, ...] = tuple("0123456789")
    width: int = 128
    height: int = 96
    absent: int = 0

    @property
    def present(self) -> int:
        return len(self.classes) - self.absent


DIGITS = Data()


def make(
    root: Path,
    seeds: tuple[int, ...] = (0, 1),
    pairs: tuple[str, ...] = tuple(PAIRS),
    shift: Mapping[tuple[str, str], float] | None = None,
    spread: float = SPREAD,
    data: Data = DIGITS,
    variants: int = 0,
) -> None:
    """Write params, data and the outputs of every run of the study `fake` under `root`.

    `shift` is added to the AP50 of the recipes that it names, in every seed; `variants` are further recipes a pair.
    """

    def recipes(pair: str) -> dict[str, tuple[dict[str, dict[str, float]], float, float]]:
        return recipes_of(pair, pairs, variants)

    _params(root, seeds, pairs, variants)
    truth = _data(root, data)

    def run(pair: str, recipe: str, seed: int, ap50: float, steps: int, core_seconds: float) -> None:
        draw = random.Random(f"{pair} {recipe} {seed}")
        ap50 += draw.gauss(0, spread) + (shift or {}).get((pair, recipe), 0.0)
        _run(root, draw, data, truth, pair, recipe, seed, ap50, steps, core_seconds)

    for pair in pairs:
        teacher, plain, longer = PAIRS[pair]
        run(pair, paths.TEACHER, 0, teacher, STEPS, 460.0)
        latency = {side: {"milliseconds_per_image": time} for side, time in (("teacher", 21.4), ("student", 6.2))}
        record.write(root / paths.latency(STUDY, pair), {**latency, **_timing("latency", 4.0)}, None, ())
        for recipe in recipes(pair):
            _tuning(root, pair, recipe)
        for seed in seeds:
            run(pair, "plain", seed, plain, STEPS, 120.0)
            run(pair, "plain_2x", seed, plain + longer, 2 * STEPS, 236.0)
            for recipe, (_, gain, overhead) in recipes(pair).items():
                run(pair, recipe, seed, plain + gain, STEPS, 120.0 * overhead)
            for recipe, (_, gain, overhead) in LONGER.get(pair, {}).items():
                run(pair, recipe, seed, plain + longer + gain, 2 * STEPS, 236.0 * overhead)


def recipes_of(
    pair: str, pairs: tuple[str, ...], variants: int = 0
) -> dict[str, tuple[dict[str, dict[str, float]], float, float]]:
    """The recipes of a pair, those with a teacher of another pair only if the study has that."""
    across = {recipe: each[1:] for recipe, each in ACROSS.get(pair, {}).items() if each[0] in pairs}
    more = {f"pkd_{index:02}": ({"pkd": {"weight": float(index)}}, 0.002 * index, 1.3) for index in range(variants)}
    return RECIPES[pair] | across | more


def remove(root: Path, pair: str, recipe: str, seed: int) -> None:
    """Take away all that one run left."""
    shutil.rmtree(root / paths.run(STUDY, pair, recipe, seed, "metrics.json").parent)


def silence(root: Path, pair: str, recipe: str, seed: int) -> None:
    """Let a run detect nothing at all."""
    file = root / paths.run(STUDY, pair, recipe, seed, "predictions.safetensors")
    predictions.save(file, {split: [_tensors([], [], [])] * IMAGES[split] for split in ("val", "test")})


def _params(root: Path, seeds: tuple[int, ...], pairs: tuple[str, ...], variants: int) -> None:
    def put(value: Any, *slice_: str) -> None:
        path = root / paths.params(STUDY, *slice_)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(value, sort_keys=False))

    nothing = paths.data(STUDY, "manifest.json").as_posix()
    distilled: list[dict[str, str]] = []
    for pair in pairs:
        across = ACROSS.get(pair, {})
        for recipe in recipes_of(pair, pairs, variants):
            teacher = {"teacher": across[recipe][0]} if recipe in across else {}
            distilled.append({"pair": pair, "recipe": recipe, **teacher})
        distilled += [{"pair": pair, "recipe": name, "like": each[0]} for name, each in LONGER.get(pair, {}).items()]
    study = {
        "study": STUDY,
        "title": "Made-up numbers, to look at the layout",
        "seeds": list(seeds),
        "pairs": [
            {"pair": pair, "engine": ENGINES[pair], "teacher_from": nothing, "student_from": nothing} for pair in pairs
        ],
        "plain": [{"pair": pair, "recipe": recipe} for pair in pairs for recipe in ("plain", "plain_2x")],
        "distilled": distilled,
    }
    put(study, "study")
    put({"kind": "digits", "train": 4000}, "data")
    put({"seed": 100, "share": 0.3, "schedule_factor": 0.5}, "tuning")
    for pair in pairs:
        for side, widths, lr in (("teacher", [32, 64, 128], 2e-3), ("student", [8, 16, 32], 3e-3)):
            detector = {"kind": pair, "widths": widths, "blocks": 2, "neck_channels": 16}
            detector |= {"anchors": [12, 22, 40]} if ENGINES[pair] == "torchvision" else {"queries": 30, "layers": 2}
            put({"detector": detector, "training": {"steps": STEPS, "batch": BATCH, "lr": lr}}, pair, side)
        put({}, pair, "plain")
        for recipe in ("plain_2x", *LONGER.get(pair, {})):
            put({"schedule_factor": 2.0}, pair, recipe)
        for recipe, (methods, _, _) in recipes_of(pair, pairs, variants).items():
            put({"methods": methods}, pair, recipe)


def _data(root: Path, data: Data) -> dict[str, Objects]:
    """Images of the validation split, annotations of all, and the manifest."""
    images = root / paths.data(STUDY, "images")
    images.mkdir(parents=True)
    truth: dict[str, Objects] = {}
    splits = {}
    for split, count in IMAGES.items():
        draw, noise = random.Random(split), np.random.default_rng(3)
        annotations = Annotations(list(data.classes))
        truth[split] = []
        for index in range(count):
            coarse = Image.fromarray(noise.integers(40, 215, (6, 6, 3), dtype=np.uint8))
            picture = coarse.resize((data.width, data.height), Image.Resampling.BICUBIC)
            objects = [_object(draw, picture, data) for _ in range(draw.randint(4, 6))]
            name = f"{split}-{index:05d}.png"
            annotations.add(name, np.array(picture), [box for box, _ in objects], [label for _, label in objects])
            truth[split].append(objects)
            if split == "val":
                picture.save(images / name)
        (root / paths.data(STUDY, f"{split}.json")).write_bytes(annotations.content())
        splits[split] = annotations
    manifest = manifest_of(STUDY, "digits", list(data.classes), splits)
    manifest["splits"]["train"] |= {"images": 4000, "boxes": 14_000, **FAULTS}
    _json(root / paths.data(STUDY, "manifest.json"), manifest)
    record.write(root / paths.data(STUDY, "timing.json"), _timing("data", 9.0), None, ())
    return truth


def _object(draw: random.Random, picture: Image.Image, data: Data) -> tuple[tuple[float, float, float, float], int]:
    side, x, y = (
        draw.randint(16, 34),
        draw.randint(0, max(data.width - 36, 0)),
        draw.randint(0, max(data.height - 36, 0)),
    )
    side = min(side, data.width - x, data.height - y)
    label, shade = draw.randrange(data.present), tuple(draw.randint(0, 255) for _ in range(3))
    ImageDraw.Draw(picture).text((x + side / 4, y), data.classes[label][:1], fill=shade, font_size=side)
    return (float(x), float(y), float(side), float(side)), label


def _run(
    root: Path,
    draw: random.Random,
    data: Data,
    truth: dict[str, Objects],
    pair: str,
    recipe: str,
    seed: int,
    ap50: float,
    steps: int,
    core_seconds: float,
) -> None:
    def put(name: str, value: Any) -> None:
        _json(root / paths.run(STUDY, pair, recipe, seed, name), value)

    def recorded(name: str, content: dict[str, Any]) -> None:
        record.write(root / paths.run(STUDY, pair, recipe, seed, name), content, None, ())

    taught, big = not recipe.startswith(("plain", "teacher")), recipe == paths.TEACHER
    times = {
        "training_core_seconds": 0.95 * core_seconds * draw.uniform(0.98, 1.02),
        "answers_core_seconds": 24.0 if taught else 0.0,
        "images_per_second": steps * BATCH / core_seconds,
    }
    recorded("timing.json", {**_timing("train", core_seconds), **times})
    recorded("evaluation.json", _timing("evaluate", 11.0))
    points = range(250, steps + 1, 250)
    curve = [(step, ap50 * (1 - 2.7 ** (-4.5 * step / steps)) + draw.gauss(0, 0.006)) for step in points]
    put(
        "learning.json",
        [
            {
                "step": step,
                "AP": reached / 2,
                "AP50": reached,
                "images": step * BATCH,
                "inside": {"area": 0.21, "native": 0.4 + 0.2 * step / steps}
                | ({"pkd": 0.35} if "pkd" in recipe else {}),
            }
            for step, reached in curve
        ],
    )
    metrics = {
        "pair": pair,
        "recipe": recipe,
        "seed": seed,
        "engine": ENGINES[pair],
        "parameters": 1_104_210 if big else 64_310,
        "flops": 412_000_000 if big else 31_500_000,
        "image_size": [data.height, data.width],
        "checkpoint_bytes": 4_430_000 if big else 270_000,
        "val": _split(ap50 + 0.004, draw, data),
        "test": _split(ap50, draw, data),
        "absent": {"test.AP_large": "no object of that size in the split"},
    }
    put("metrics.json", metrics)
    strong = {f"neck.{stride}": _map(draw, data, stride) for stride in (4, 8)}
    maps.save(root / paths.run(STUDY, pair, recipe, seed, "maps.safetensors"), strong)
    found = {split: [_detections(objects, draw, data, ap50) for objects in truth[split]] for split in ("val", "test")}
    predictions.save(root / paths.run(STUDY, pair, recipe, seed, "predictions.safetensors"), found)


def _map(draw: random.Random, data: Data, stride: int) -> torch.Tensor:
    cells = -(-data.height // stride), -(-data.width // stride)
    return torch.rand(cells, generator=torch.Generator().manual_seed(draw.randrange(2**31)))


def _split(ap50: float, draw: random.Random, data: Data) -> dict[str, Any]:
    per_class = {name: (ap50 + draw.gauss(0, 0.04)) for name in data.classes[: data.present]}
    return {
        "AP": ap50 * 0.52,
        "AP50": ap50,
        "AP75": ap50 * 0.48,
        "AP_small": ap50 * 0.5,
        "AP_medium": ap50 * 0.56,
        "AP_large": None,
        "AR100": ap50 * 0.7,
        "per_class": {name: {"AP": value / 2, "AP50": value} for name, value in per_class.items()}
        | {name: {"AP": None, "AP50": None} for name in data.classes[data.present :]},
        "voc": {"AP50_area": ap50 + 0.008, "AP50_11point": ap50 + 0.011},
        "images": 500,
        "boxes": 1750,
    }


def _detections(
    objects: list[tuple[tuple[float, float, float, float], int]], draw: random.Random, data: Data, ap50: float
) -> dict[str, torch.Tensor]:
    """Most objects, some by a wrong class or place, and a few of nothing, by falling score."""
    found = []
    for (x, y, width, height), label in objects:
        if draw.random() < ap50 + 0.15:
            right, off = draw.random() < 0.85, draw.choice((1.0, 1.0, 1.0, 5.0))
            left, top = x + draw.gauss(0, off), y + draw.gauss(0, off)
            score = draw.uniform(0.4, 0.99) if right else draw.uniform(0.2, 0.7)
            found.append(
                (score, [left, top, left + width, top + height], label if right else (label + 1) % data.present)
            )
    for _ in range(draw.randrange(3)):
        left, top = draw.uniform(0, data.width - 20), draw.uniform(0, data.height - 20)
        found.append((draw.uniform(0.05, 0.6), [left, top, left + 20, top + 20], draw.randrange(data.present)))
    found.sort(reverse=True)
    return _tensors([box for _, box, _ in found], [score for score, _, _ in found], [label for _, _, label in found])


def _tensors(boxes: list[list[float]], scores: list[float], labels: list[int]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


def _tuning(root: Path, pair: str, recipe: str) -> None:
    draw = random.Random(f"{pair} {recipe} tuning")
    grid = [
        {"factor": factor, "AP": 0.2, "AP50": 0.4 + draw.uniform(0, 0.05), "gradient_share": 0.3 * factor}
        for factor in (0.25, 1.0, 4.0, 16.0)
    ]
    best = max(grid, key=lambda tried: tried["AP50"])["factor"]
    tuned = {"pair": pair, "recipe": recipe, "split": "val", "seed": 100, "share": 0.3, "schedule_factor": 0.5}
    _json(root / paths.tuning(STUDY, pair, recipe, "tuning.json"), {**tuned, "units": {}, "grid": grid, "factor": best})
    record.write(root / paths.tuning(STUDY, pair, recipe, "timing.json"), _timing("tune", 340.0), None, ())


def _timing(step: str, core_seconds: float) -> dict[str, Any]:
    return {
        "step": step,
        "wall_seconds": core_seconds * 1.04,
        "core_seconds": core_seconds,
        "peak_memory_bytes": 720 * 2**20,
        "machine": MACHINE,
        "versions": {name: version for name, version in VERSIONS.items() if (step, name) != UNSEEN},
    }


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name in record.RECORDS:
        record.write(path, value, None, ())
    else:
        path.write_text(json.dumps(value, allow_nan=False))
