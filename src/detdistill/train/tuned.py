"""What tuning found, for the trainings that use it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from detdistill.core.errors import UserError
from detdistill.core.files import read_json
from detdistill.core.record import intact


def scales(units: dict[str, float], factor: float) -> dict[str, float]:
    """Method -> what its weights are multiplied by: the methods of a recipe share its factor evenly."""
    return {method: factor * unit / len(units) for method, unit in units.items()}


def read_scales(path: Path, methods: Iterable[str]) -> dict[str, float]:
    """The `scales` of a recipe's `tuning.json`. Raises UserError when it is missing or of other methods."""
    found = read_json(intact(path))
    units = found.get("units", {})
    if set(units) != set(methods):
        raise UserError(f"{path}: units: of {', '.join(units) or 'no method'}, the recipe has {', '.join(methods)}")
    return scales(units, found["factor"])
