"""The students of a pair by what their training costs and what it reaches."""

from collections.abc import Iterable
from dataclasses import dataclass

from detdistill.analysis.cost import PairCost
from detdistill.analysis.summary import PairSummary, distilled
from detdistill.report.figures.style import PLAIN, colour


@dataclass(frozen=True)
class Student:
    """Core seconds without the teacher, and with a share of its training; mean and spread of AP50 in points."""

    recipe: str
    hue: str
    schedule: float
    alone: float
    taught: float | None
    mean: float
    spread: float

    @property
    def paid(self) -> float:
        """All that its training costs."""
        return self.taught or self.alone


def plain_students(content: PairSummary, cost: PairCost) -> list[Student]:
    """From the cheapest on."""
    return sorted(_known(content["plain"], content, cost), key=lambda student: student.alone)


def distilled_students(content: PairSummary, cost: PairCost) -> list[Student]:
    """By level."""
    return list(_known(distilled(content), content, cost))


def front(students: Iterable[Student]) -> list[Student]:
    """Those that no other student beats in price and precision, from the cheapest on."""
    best: list[Student] = []
    for student in sorted(students, key=lambda each: (each.paid, -each.mean)):
        if not best or student.mean > best[-1].mean:
            best.append(student)
    return best


def _known(recipes: Iterable[str], content: PairSummary, cost: PairCost) -> Iterable[Student]:
    """Those whose cost and precision are known."""
    for name in recipes:
        stats, own = content["recipes"][name], cost["recipes"][name]
        mean, alone = stats["AP50"]["mean"], own["core_seconds"]
        if mean is not None and alone:
            hue = colour(stats["levels"]) if stats["levels"] else PLAIN
            spread = 100 * (stats["AP50"]["std"] or 0.0)
            yield Student(name, hue, stats["schedule_factor"], alone, own["with_teacher"], 100 * mean, spread)
