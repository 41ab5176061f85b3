"""The evaluate step: one trained model on the validation and the test split, its cost, and detections to look at."""

from typing import Any

import torch

from detdistill.core import paths
from detdistill.core.files import write_json
from detdistill.core.params import load_side, load_study
from detdistill.core.timing import measure
from detdistill.dataset import manifest
from detdistill.dataset.manifest import Split
from detdistill.detectors import build
from detdistill.detectors.base import Detections
from detdistill.detectors.weights import load_weights
from detdistill.evaluate.coco import coco_metrics
from detdistill.evaluate.cost import flops, latency, parameters
from detdistill.evaluate.predict import as_float, predict
from detdistill.evaluate.voc import voc_metrics

BATCH = 16  # fixed, because the size of a batch can change the last bits of a result
SHOWN_IMAGES = 8
SHOWN_SCORE = 0.05
LATENCY_IMAGES = 10


def evaluate(study: str, pair: str, recipe: str, seed: int) -> None:
    """Write `metrics.json`, its `headline.json`, `detections.json` and `latency.json` of a run.

    What cannot repeat, latency and the cost of this step, is in `latency.json` alone.

    Raises UserError for an unknown pair or recipe, a missing or foreign checkpoint, and data that were altered.
    """
    with measure("evaluate") as cost:
        plan = load_study(study)
        engine = plan.pair(pair).engine
        if recipe != paths.TEACHER:
            plan.recipe(pair, recipe)
        side = load_side(study, pair, "teacher" if recipe == paths.TEACHER else "student")
        where = paths.params(study, pair, "teacher" if recipe == paths.TEACHER else "student")
        torch.set_num_threads(side.training.threads)
        data = manifest.load(study)
        splits = {name: data.split(name, cache=True) for name in ("val", "test")}

        detector = build(engine, side.detector, len(data.classes), str(where))
        checkpoint = paths.run(study, pair, recipe, seed, "model.safetensors")
        load_weights(detector, checkpoint)

        predictions = {name: predict(detector, split, BATCH) for name, split in splits.items()}
        figures: dict[str, Any] = {}
        absent: dict[str, str] = {}
        for name, split in splits.items():
            figures[name], reasons = _metrics(split, predictions[name])
            absent |= {f"{name}.{figure}": reason for figure, reason in reasons.items()}
        images = [as_float(splits["val"].image(index)) for index in range(min(LATENCY_IMAGES, len(splits["val"])))]
        metrics = {
            "pair": pair,
            "recipe": recipe,
            "seed": seed,
            "engine": engine,
            "parameters": parameters(detector),
            "flops": flops(detector, images[0]),
            "image_size": list(images[0].shape[-2:]),
            "checkpoint_bytes": checkpoint.stat().st_size,
            **figures,
            "absent": absent,
        }
        speed = latency(detector, images)
    write_json(paths.run(study, pair, recipe, seed, "detections.json"), _shown(splits["val"], predictions["val"]))
    cost.record(paths.run(study, pair, recipe, seed, "latency.json"), **speed)
    write_json(paths.run(study, pair, recipe, seed, "headline.json"), _headline(figures))
    write_json(paths.run(study, pair, recipe, seed, "metrics.json"), metrics)


def _headline(figures: dict[str, Any]) -> dict[str, float | None]:
    """What fits into a line of a table, as `dvc metrics show` prints it."""
    return {"AP50": figures["test"]["AP50"], "AP": figures["test"]["AP"], "val_AP50": figures["val"]["AP50"]}


def _metrics(split: Split, predictions: list[Detections]) -> tuple[dict[str, Any], dict[str, str]]:
    figures, absent = coco_metrics(split, predictions)
    figures["voc"], reasons = voc_metrics(split, predictions)
    figures["images"] = len(split)
    figures["boxes"] = sum(len(record.boxes) for record in split.records)
    return figures, absent | {f"voc.{name}": reason for name, reason in reasons.items()}


def _shown(split: Split, predictions: list[Detections]) -> dict[str, Any]:
    """The detections on the images with the most objects: chosen by the annotations alone, so alike for every run."""
    fullest = sorted(range(len(split)), key=lambda index: -len(split.records[index].boxes))[:SHOWN_IMAGES]
    images = []
    for index in fullest:
        found = predictions[index]
        sure = found["scores"] >= SHOWN_SCORE
        images.append(
            {
                "image_id": split.records[index].image_id,
                "file_name": split.records[index].file_name,
                "boxes": found["boxes"][sure].tolist(),
                "scores": found["scores"][sure].tolist(),
                "labels": found["labels"][sure].tolist(),
            }
        )
    return {"images": images}
