"""The latency step: what an image takes by the two architectures of a pair, with nothing else on the machine.

All students of a pair are one architecture, so the first plain one stands for them.
"""

import torch

from detdistill.core import paths
from detdistill.core.code import Used
from detdistill.core.params import load_study
from detdistill.core.timing import measure
from detdistill.dataset import manifest
from detdistill.evaluate.cost import latency
from detdistill.evaluate.predict import as_float
from detdistill.evaluate.trained import trained

IMAGES = 10


def measure_latency(study: str, pair: str) -> None:
    """Write `latency.json` of a pair. Raises UserError for an unknown pair and a missing or foreign checkpoint."""
    with measure("latency") as cost:
        plan = load_study(study)
        plain = plan.stand_in(plan.pair(pair).pair)
        data = manifest.load(study)
        validation = data.split("val")
        torch.set_num_threads(1)
        sides = [paths.params(study, pair, side) for side in (paths.TEACHER, paths.STUDENT)]
        student_model = paths.run(study, pair, plain, plan.seeds[0], "model.safetensors")
        detectors = [
            trained(study, pair, recipe, seed, data)[0]
            for recipe, seed in ((paths.TEACHER, paths.ONCE), (plain, plan.seeds[0]))
        ]
        used = Used([paths.data(study, "manifest.json"), *sides, paths.teacher(study, pair), student_model])
        images = [as_float(validation.image(index)) for index in range(min(IMAGES, len(validation)))]
        teacher, student = (latency(detector, images) for detector in detectors)
    used.check()
    cost.record(paths.latency(study, pair), used=used, teacher=teacher, student=student)
