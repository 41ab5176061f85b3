"""Detectors of every engine behind one interface. One engine is one module here, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from detdistill.detectors.base import Detector
from detdistill.errors import UserError, near


def engines() -> list[str]:
    """The names of the engines: every module here that builds families of detectors."""
    parts = {"base", "recorder", "resnet_fpn", "set_prediction"}
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name not in parts]


def build(engine: str, params: dict[str, Any], num_classes: int, where: str = "detector") -> Detector:
    """The untrained detector that `params` describes, in the words of its engine.

    Args:
        engine: a module of this folder.
        params: the `detector` section of a teacher's or student's slice.
        num_classes: K, background not counted.
        where: the file that an error names.

    Raises:
        UserError: unknown engine, an engine that is not installed, or parameters that it does not know.
    """
    if engine not in engines():
        raise UserError(f"{where}: no engine {engine!r}{near(engine, engines())}")
    return importlib.import_module(f"detdistill.detectors.{engine}").build(params, num_classes, where)
