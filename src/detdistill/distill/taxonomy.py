"""The review's levels, in its order, and the level of a method: the folder of the code it is written in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from detdistill.core.errors import UserError, near
from detdistill.distill import files


@dataclass(frozen=True)
class Level:
    """One place in the taxonomy of arXiv 2508.03317."""

    key: str
    label: str
    family: Literal["cnn", "transformer"]


LEVELS = (
    Level("backbone", "Backbone", "cnn"),
    Level("neck", "Neck", "cnn"),
    Level("head", "Head", "cnn"),
    Level("rpn_roi", "RPN/RoI", "cnn"),
    Level("query", "Query", "transformer"),
    Level("feature", "Feature", "transformer"),
    Level("logit", "Logit", "transformer"),
)
LABELS = {level.key: level.label for level in LEVELS}


def level_of(method: str) -> str:
    """The level of a method, from where its file lies: `cnn/neck/pkd.py` is of level `neck`.

    Raises UserError, with the near name, when no level has that method.
    """
    known = implemented()
    if method not in known:
        raise UserError(f"no level has a method {method!r}{near(method, known)}")
    return known[method]


def implemented() -> dict[str, str]:
    """The level of every method in the code, in the study or not."""
    levels = {method: file.parts[1] for method, file in files().items()}
    return {method: levels[method] for method in by_level(levels)}


def ordered(levels: set[str]) -> list[str]:
    """The given levels in the order of the taxonomy."""
    return [level.key for level in LEVELS if level.key in levels]


def by_level(levels: Mapping[str, str]) -> list[str]:
    """The methods of `levels` (method -> level) in the order of their levels, then by name."""
    order = [level.key for level in LEVELS]
    return sorted(levels, key=lambda method: (order.index(levels[method]), method))


def place(levels: list[str]) -> tuple[bool, list[int]]:
    """Sort key of a recipe: in the order of the levels, recipes of several levels after all others."""
    order = [level.key for level in LEVELS]
    return len(levels) > 1, [order.index(level) for level in levels]


def label(levels: list[str]) -> str:
    """How a recipe's levels read in a table: `Neck`, `Neck + RPN/RoI`."""
    return " + ".join(LABELS[key] for key in levels)
