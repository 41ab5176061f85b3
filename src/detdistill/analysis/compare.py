"""Did a study reproduce another? Every figure of one against the other, within the spread that their seeds predict.

Two means of n and m seeds differ by chance by t s sqrt(1/n + 1/m): s is pooled over all students of a pair in both
studies, t Student's at 5 % over the number of figures compared (Bonferroni), so that two studies of one truth are
called different in at most 5 % of the cases. A teacher has one run a study, and its students' spread. What no seed
predicts is a tuning that took another weight; the line of such a recipe says so.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from detdistill.analysis.effects import ERROR_RATE, ROUNDING
from detdistill.analysis.equal_cost import Spread, pooled
from detdistill.analysis.summary import RunStats, Summary
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_json

FIGURES = ("AP50", "AP")


@dataclass(frozen=True)
class Figure:
    """One figure of one recipe in both studies, and how far apart chance allows them; None where one is missing."""

    name: str
    first: float | None
    second: float | None
    allowed: float | None

    @property
    def agrees(self) -> bool:
        """Whether both are there and no further apart than chance allows."""
        if self.first is None or self.second is None:
            return False
        return abs(self.first - self.second) <= (self.allowed or 0.0) + ROUNDING


@dataclass(frozen=True)
class Line:
    """A recipe of a pair, the teacher among them. `tuned` are the factors that tuning took, if they differ."""

    pair: str
    recipe: str
    figures: list[Figure]
    tuned: tuple[float, float] | None

    @property
    def agrees(self) -> bool:
        return all(figure.agrees for figure in self.figures)

    def __str__(self) -> str:
        told = [f"{self.pair:<12} {self.recipe:<22}"]
        for figure in self.figures:
            one, other = (
                f"{100 * value:5.1f}" if value is not None else "    –" for value in (figure.first, figure.second)
            )
            allowed = f"{100 * figure.allowed:.1f}" if figure.allowed is not None else "–"
            told.append(f"{figure.name:<4} {one} and {other}, within {allowed}: {'yes' if figure.agrees else 'NO '}")
        if self.tuned:
            told.append("(tuned to {:g} and {:g} times its unit)".format(*self.tuned))
        return "  ".join(told)


def compare(first: Summary, second: Summary) -> list[Line]:
    """Every recipe of the first study against the second's.

    Raises UserError where they are not the same study, and where figures differ but no seed shows a spread.
    """
    if differing := _differing(first, second):
        raise UserError(f"not the same study: {', '.join(differing)} differ; only runs of equal slices can be compared")
    compared = [(pair, recipe, one, _other(second, pair, recipe)) for pair, recipe, one in _recipes(first)]
    rate = ERROR_RATE / (len(compared) * len(FIGURES))
    lines = []
    for pair, recipe, one, other in compared:
        figures = [_figure(name, one, other, _spread(pair, name, first, second), rate) for name in FIGURES]
        lines.append(Line(pair, recipe, figures, _tuned(one, other)))
    for line in lines:
        if any(
            None not in (each.first, each.second) and each.allowed is None and not each.agrees for each in line.figures
        ):
            raise UserError(
                f"{line.pair}: the seeds show no spread that a difference could be judged by; train two or more"
            )
    return lines


def verdict(lines: list[Line]) -> str:
    """The last word on a comparison."""
    other = [f"{line.recipe} of {line.pair}" for line in lines if not line.agrees]
    if not other:
        return f"reproduced: all {len(lines)} models lie within the spread that their seeds predict"
    return f"not reproduced: {len(other)} of {len(lines)} models differ or are missing: {', '.join(other)}"


def read(place: str) -> Summary:
    """The summary that a study's name, its folder of reports or a `summary.json` stands for.

    Raises UserError when there is none, or one of another version of detdistill.
    """
    named = Path(place), Path(place, "summary.json")
    file = next((each for each in named if each.is_file()), paths.summary(place))
    return _checked(read_json(file), str(file))


def committed(study: str) -> Summary:
    """The summary of that study in the last commit. Raises UserError when the commit has none."""
    file = f"HEAD:./{paths.summary(study).as_posix()}"
    done = subprocess.run(["git", "show", file], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{file}: git: {done.stderr.strip() or 'no such file'}; name the report to compare with")
    return _checked(json.loads(done.stdout), file)


def _checked(content: dict[str, Any], where: str) -> Summary:
    if missing := Summary.__required_keys__ - content.keys():
        raise UserError(f"{where}: {', '.join(sorted(missing))}: missing; run `detdistill summarize` of this version")
    return content  # type: ignore[return-value]


def _differing(first: Summary, second: Summary) -> list[str]:
    """The slices that differ, and the images if they do where their slice does not."""
    slices = sorted(first["params"].keys() | second["params"].keys())
    found = [name for name in slices if first["params"].get(name) != second["params"].get(name)]
    return found if found or first["data"] == second["data"] else ["the prepared images"]


def _recipes(summary: Summary) -> Iterator[tuple[str, str, RunStats]]:
    for pair, content in summary["pairs"].items():
        yield pair, paths.TEACHER, content["teacher"]
        for recipe, stats in content["recipes"].items():
            yield pair, recipe, stats


def _other(summary: Summary, pair: str, recipe: str) -> RunStats:
    content = summary["pairs"][pair]
    return content["teacher"] if recipe == paths.TEACHER else content["recipes"][recipe]


def _figure(name: str, first: RunStats, second: RunStats, spread: Spread | None, rate: float) -> Figure:
    one, other = first[name], second[name]  # type: ignore[literal-required]
    allowed = None
    if one["n"] and other["n"] and spread:
        error = spread.deviation * (1 / one["n"] + 1 / other["n"]) ** 0.5
        allowed = float(stdtrit(spread.freedom, 1 - rate / 2)) * error
    return Figure(name, one["mean"], other["mean"], allowed)


def _tuned(*recipes: RunStats) -> tuple[float, float] | None:
    """The factors of a recipe that two tunings weighed otherwise: the one way to differ that no seed predicts."""
    one, other = (each.get("tuned") for each in recipes)
    if not one or not other or one["factor"] == other["factor"]:  # type: ignore[index]
        return None
    return one["factor"], other["factor"]  # type: ignore[index]


def _spread(pair: str, name: str, *studies: Summary) -> Spread | None:
    students = [stats for study in studies for stats in study["pairs"][pair]["recipes"].values()]
    return pooled([stats[name]["values"] for stats in students])  # type: ignore[literal-required]
