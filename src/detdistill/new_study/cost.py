"""How long a proposed study takes on two processor cores: a rule of thumb, right to about a third.

A step of eight images takes a fixed time and one by the area of the images. Measured on an AMD EPYC: `bccd` (160 x 120
pixels) and two studies of parts of its images that this proposed (128 x 96 and 96 x 72) took 18, 16 and 19 minutes.
"""

from collections.abc import Mapping

CORES = 2
FAMILIES = ("faster_rcnn", "retinanet")
STEP: Mapping[tuple[str, str], tuple[float, float]] = {
    ("faster_rcnn", "student"): (0.015, 0.025),
    ("faster_rcnn", "teacher"): (0.02, 0.117),
    ("retinanet", "student"): (0.01, 0.066),
    ("retinanet", "teacher"): (0.01, 0.21),
}
"""Core seconds: of any step, and of 96 x 96 pixels more."""
UNIT = 96 * 96
SEEDS, TRIALS = 3, 5
RECIPES = {"faster_rcnn": 3, "retinanet": 2}
TAUGHT = {"faster_rcnn": 1.3, "retinanet": 1.45}
"""What a recipe's step takes beside a plain one's, the average of those proposed."""
EVALUATING = 1.25
RUN = 10.0
"""Core seconds to begin and end a run."""


def trial(student_steps: int) -> float:
    """The steps of a trial in tuning, as a share of the student's: short schedules tell nothing when they are cut."""
    return 1.0 if student_steps < 1000 else 0.5


def minutes(area: float, teacher_steps: int, student_steps: int) -> float:
    """Of the proposed study: plain students of one and two times the steps, recipes, their tuning, two teachers.

    `area` is that of an image, in pixels.
    """
    seconds, runs = 0.0, 0
    for family in FAMILIES:
        student, teacher = (_step(family, side, area) for side in ("student", "teacher"))
        plain = SEEDS * (1 + 2) * student_steps
        taught = RECIPES[family] * (SEEDS + TRIALS * trial(student_steps)) * student_steps
        seconds += student * (plain + TAUGHT[family] * taught) + teacher * teacher_steps
        runs += SEEDS * (2 + RECIPES[family]) + RECIPES[family] + 1
    return (EVALUATING * seconds + RUN * runs) / CORES / 60


def _step(family: str, side: str, area: float) -> float:
    fixed, slope = STEP[family, side]
    return fixed + slope * area / UNIT
