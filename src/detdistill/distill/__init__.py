"""The methods of the taxonomy: one file a method, in the folder of the level that its loss acts on."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, create_model
from torch import nn

from detdistill.core.errors import UserError, near
from detdistill.core.params import parse
from detdistill.detectors.base import Detector
from detdistill.distill.base import Distillation, Method, check_taps

ROOT = Path(__file__).parent


def files() -> dict[str, Path]:
    """Method name -> its file, relative to this folder: `{"pkd": Path("cnn/neck/pkd.py"), ...}`."""
    found = sorted(path.relative_to(ROOT) for path in ROOT.glob("*/*/*.py") if not path.name.startswith("_"))
    return {path.stem: path for path in found}


def find(name: str, where: str) -> type[Method]:
    """The class of a method. Only its own file is imported. Raises UserError with the near name."""
    known = files()
    if name not in known:
        raise UserError(f"{where}: methods: no method {name!r}{near(name, known)}")
    if hasattr(nn.ModuleDict, name):
        raise UserError(f"{where}: methods: PyTorch's modules have an attribute {name!r}: no method can be called so")
    module = importlib.import_module(".".join([__name__, *known[name].with_suffix("").parts]))
    (method,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
    )
    return method


def summary(name: str) -> str:
    """The first line of a method's docstring."""
    module = ast.parse((ROOT / files()[name]).read_text())
    return (ast.get_docstring(module) or "").partition("\n")[0]


def build(
    recipe: Mapping[str, dict[str, Any]], scales: Mapping[str, float], student: Detector, teacher: Detector, where: str
) -> Distillation:
    """The student with every method of the recipe, all checked before any work.

    Args:
        recipe: the methods with their parameters.
        scales: method -> what its terms are multiplied by; 1 where it has none.
        where: the recipe's file, named in errors.

    Raises:
        UserError: no method, an unknown one, a missing weight, an unknown parameter, or a detector without the taps
            that a method needs.
    """
    if not recipe:
        raise UserError(f"{where}: methods: a distilled run needs at least one; known: {', '.join(files())}")
    methods = {}
    for name, values in recipe.items():
        method = find(name, where)
        keywords = parse_keywords(method, values, f"{where}: methods.{name}")
        check_taps(name, method, student, teacher, where)
        try:
            methods[name] = method(student, teacher, **keywords)
        except UserError as error:
            raise UserError(f"{where}: methods.{name}: {error}") from None
    return Distillation(student, teacher, methods, scales)


def parse_keywords(method: type[Method], values: dict[str, Any], where: str) -> dict[str, Any]:
    """Check a method's parameters against its constructor's keywords, their types and defaults."""
    keywords: dict[str, Any] = {
        name: (keyword.annotation, ... if keyword.default is inspect.Parameter.empty else keyword.default)
        for name, keyword in inspect.signature(method, eval_str=True).parameters.items()
        if keyword.kind is inspect.Parameter.KEYWORD_ONLY
    }
    schema = create_model(
        method.__name__, __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **keywords
    )
    return dict(parse(schema, values or {}, where))
