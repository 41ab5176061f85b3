"""Record what named modules see and return during a forward pass."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from torch import nn

from detdistill.core.errors import UserError, near


class Call(NamedTuple):
    """One call of a recorded module: its arguments, positional and by name, and its return value."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


class Recorder:
    """Context manager that appends every call of the modules at `module_paths` to `calls[path]`.

    It appends because one dense head is called once per pyramid level. Hooks are removed on exit.

    Raises:
        UserError: when a path does not exist in `model`, with the near names. At construction, so before any work.
    """

    def __init__(self, model: nn.Module, module_paths: list[str]):
        modules = dict(model.named_modules())
        for path in module_paths:
            if path not in modules:
                raise UserError(f"{type(model).__name__} has no module {path!r} to tap{near(path, list(modules))}")
        self._modules = {path: modules[path] for path in module_paths}
        self._handles: list[Any] = []
        self.calls: dict[str, list[Call]] = defaultdict(list)

    def __enter__(self) -> Recorder:
        for path, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(path), with_kwargs=True))
        return self

    def __exit__(self, *exception: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, path: str) -> Any:
        def append(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self.calls[path].append(Call(args, kwargs, output))

        return append
