"""Detectors of every engine behind one interface. An engine is a folder of `detdistill.engines`, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import detdistill.engines
from detdistill.core.errors import UserError, near
from detdistill.detectors.base import Detector

COMMANDS = {"detectron2": "make detectron2"}
"""What installs an engine that the project's own environment has not."""


def engines() -> list[str]:
    """The names of the engines: every folder there, with a `build` of its families."""
    return [module.name for module in pkgutil.iter_modules(detdistill.engines.__path__)]


def find(engine: str, where: str) -> Any:
    """The package of an engine. Raises UserError for an unknown one, and one that is not installed."""
    if engine not in engines():
        raise UserError(f"{where}: no engine {engine!r}{near(engine, engines())}")
    try:
        return importlib.import_module(f"detdistill.engines.{engine}")
    except ModuleNotFoundError as error:
        hint = f"; {COMMANDS[engine]!r} installs it" if engine in COMMANDS else ""
        missing = str(error.name).partition(".")[0]
        raise UserError(f"{where}: engine {engine!r}: {missing} is not installed{hint}") from error


def build(engine: str, params: dict[str, Any], num_classes: int, where: str = "detector") -> Detector:
    """The untrained detector that `params` describes, in the words of its engine.

    Args:
        engine: a folder of `detdistill.engines`.
        params: the `detector` section of a teacher's or student's slice.
        num_classes: K, background not counted.
        where: the file that an error names.

    Raises:
        UserError: as `engine`, or parameters that it does not know.
    """
    try:
        detector: Detector = find(engine, where).build(params, num_classes, where)
    except (ValueError, AssertionError) as error:  # such as a width that a number of heads or groups does not divide
        raise UserError(f"{where}: detector: {engine} refuses these sizes: {error}") from error
    return detector
