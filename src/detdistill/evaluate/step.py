"""The evaluate step: one trained model on the validation and the test split, and what it detects and looks at there."""

from typing import Any

import torch

from detdistill.core import paths
from detdistill.core.code import Used
from detdistill.core.files import write_json
from detdistill.core.params import load_study
from detdistill.core.timing import measure
from detdistill.dataset import manifest
from detdistill.dataset.manifest import Split
from detdistill.detectors.base import Detections
from detdistill.evaluate import maps, predictions
from detdistill.evaluate.coco import coco_metrics
from detdistill.evaluate.cost import flops, parameters
from detdistill.evaluate.predict import as_float, predict
from detdistill.evaluate.trained import trained
from detdistill.evaluate.voc import voc_metrics

WROTE = ("predictions.safetensors", "maps.safetensors", "headline.json", "metrics.json")
BATCH = 16  # fixed, because the size of a batch can change the last bits of a result


def evaluate(study: str, pair: str, recipe: str, seed: int) -> None:
    """Write `metrics.json`, its `headline.json`, `predictions.safetensors`, `maps.safetensors` and `evaluation.json`.

    What cannot repeat, the cost of this step, is in `evaluation.json` alone.

    Raises UserError for an unknown pair or recipe, a missing or foreign checkpoint, and data that were altered.
    """
    with measure("evaluate") as cost:
        data = manifest.load(study)
        detector, side = trained(study, pair, recipe, seed, data)
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        detector.to(device)
        model = paths.run(study, pair, recipe, seed, "model.safetensors")
        used = Used([paths.data(study, "manifest.json"), paths.side(study, pair, recipe), model])
        torch.set_num_threads(side.training.threads)
        splits = {name: data.split(name) for name in ("val", "test")}
        found = {name: predict(detector, split, BATCH) for name, split in splits.items()}
        figures: dict[str, Any] = {}
        absent: dict[str, str] = {}
        for name, split in splits.items():
            figures[name], reasons = _metrics(split, found[name])
            absent |= {f"{name}.{figure}": reason for figure, reason in reasons.items()}
        image, shown = (
            as_float(splits["val"].image(index).to(device)) for index in (0, maps.shown(splits["val"].records))
        )
        strong = maps.strengths(detector, shown)
        metrics = {
            "pair": pair,
            "recipe": recipe,
            "seed": seed,
            "engine": load_study(study).pair(pair).engine,
            "parameters": parameters(detector),
            "flops": flops(detector, image),
            "image_size": list(image.shape[-2:]),
            "checkpoint_bytes": model.stat().st_size,
            **figures,
            "absent": absent,
        }
    used.check()
    predictions.save(model.with_name("predictions.safetensors"), found)
    maps.save(model.with_name("maps.safetensors"), strong)
    write_json(model.with_name("headline.json"), _headline(figures))
    write_json(model.with_name("metrics.json"), metrics)
    cost.record(model.with_name("evaluation.json"), WROTE, used)


def _headline(figures: dict[str, Any]) -> dict[str, float | None]:
    """What fits into a line of a table, as `dvc metrics show` prints it."""
    return {"AP50": figures["test"]["AP50"], "AP": figures["test"]["AP"], "val_AP50": figures["val"]["AP50"]}


def _metrics(split: Split, found: list[Detections]) -> tuple[dict[str, Any], dict[str, str]]:
    figures, absent = coco_metrics(split, found)
    figures["voc"], reasons = voc_metrics(split, found)
    figures["images"] = len(split)
    figures["boxes"] = sum(len(record.boxes) for record in split.records)
    return figures, absent | {f"voc.{name}": reason for name, reason in reasons.items()}
