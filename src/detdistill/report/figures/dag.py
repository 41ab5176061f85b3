"""The steps of a study by rule, with how many of each there are, and what each needs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from detdistill.core.params import Study, load_tuning
from detdistill.report.figures.style import FULL_WIDTH, INK

_HALF = (0.62, 0.3)
_PLACES = {
    "data": (0.0, 0.0),
    "teacher": (1.75, 0.75),
    "student": (1.75, -0.75),
    "tune": (3.5, 0.75),
    "distill": (3.5, 0.0),
    "evaluate": (5.25, 0.0),
    "latency": (5.25, -0.75),
    "summarize": (7.0, 0.0),
    "report": (8.75, 0.0),
}
# What follows from others is left out: all that trains or evaluates needs the data, too.
_NEEDS = (
    ("data", "teacher"),
    ("data", "student"),
    ("teacher", "tune"),
    ("tune", "distill"),
    ("teacher", "distill"),
    ("student", "evaluate"),
    ("distill", "evaluate"),
    ("student", "latency"),
    ("evaluate", "summarize"),
    ("latency", "summarize"),
    ("summarize", "report"),
)


def counts(study: Study) -> dict[str, int]:
    """How many steps of each rule the study has."""
    seeds, teachers = len(study.seeds), len(study.pairs)
    students, distilled = len(study.plain) * seeds, len(study.distilled) * seeds
    return {
        "data": 1,
        "teacher": teachers,
        "student": students,
        "tune": sum(not run.like for run in study.distilled) if load_tuning(study.study) else 0,
        "distill": distilled,
        "evaluate": teachers + students + distilled,
        "latency": teachers,
        "summarize": 1,
        "report": 1,
    }


def draw(study: Study) -> Figure:
    """Boxes from left to right in the order of the work; a rule that the study does not use is left out."""
    figure = Figure(figsize=(FULL_WIDTH, 1.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.75, 9.5), ylim=(-1.12, 1.12), aspect="equal")
    axes.axis("off")
    steps = {rule: count for rule, count in counts(study).items() if count}
    for rule, count in steps.items():
        _step(axes, rule, count)
    for before, after in _NEEDS:
        if before in steps and after in steps:
            _arrow(axes, before, after)
    return figure


def _step(axes: Axes, rule: str, count: int) -> None:
    x, y = _PLACES[rule]
    width, height = _HALF
    corner = (x - width, y - height)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, 2 * width, 2 * height, boxstyle=style, fc="#f3f3f3", ec=INK, lw=0.7))
    axes.text(x, y + 0.08, rule, ha="center", va="center", fontweight="bold")
    axes.text(x, y - 0.15, f"{count} step{'s' if count > 1 else ''}", ha="center", va="center", fontsize=7)


def _arrow(axes: Axes, before: str, after: str) -> None:
    (x1, y1), (x2, y2) = _PLACES[before], _PLACES[after]
    width, height = _HALF
    start, end, route = (x1 + width, y1), (x2 - width, y2), "arc3"
    if x1 == x2:
        start, end = (x1, y1 - height), (x2, y2 + height)
    elif y1 < y2 and (before, after) == ("student", "evaluate"):
        end = (x2 - width, y2 - height / 2)
    elif before == "latency":
        # Around, into the next one from below.
        end, route = (x2, y2 - height), "angle,angleA=0,angleB=90,rad=6"
    arrow = FancyArrowPatch(
        start, end, connectionstyle=route, arrowstyle="-|>", mutation_scale=7, shrinkA=1, shrinkB=1, lw=0.7, color=INK
    )
    axes.add_patch(arrow)
