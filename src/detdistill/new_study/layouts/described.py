"""YOLO's data.yaml: the names of the classes, the splits if it says them, and the points of a pose."""

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from detdistill.core.errors import UserError
from detdistill.core.params import read_yaml
from detdistill.data.reading import SplitName
from detdistill.data.tree import Tree

CREATE = "create data.yaml with `names: [...]`, the classes in the order of their numbers"
Places = dict[SplitName, list[str]]
"""Split -> its folders of images or lists of them."""


@dataclass(frozen=True)
class Described:
    """What one data.yaml says; `splits` are empty when it says none to train with."""

    names: list[str]
    splits: Places
    kpt_shape: Any


def files(tree: Tree) -> list[str]:
    """Those that have names; of several, those that are usually called so."""
    found = [file for file in tree.files(".yaml", ".yml") if _has_names(tree.root / file)]
    usual = [file for file in found if Path(file).name in ("data.yaml", "dataset.yaml")]
    return usual if len(found) > 1 and usual else found


def read(tree: Tree, file: str) -> Described:
    """The content of a data.yaml. Raises UserError for a faulty one."""
    path = tree.root / file
    content = _content(path)
    if "names" not in content:
        raise UserError(f"{path}: names: they are missing; {CREATE}")
    return Described(_names(path, content), _splits(tree, path, content), content.get("kpt_shape"))


def distinct(names: list[str], where: str) -> list[str]:
    """The names again. Raises UserError when one is there twice."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{where}: {twice[0]!r} is there twice")
    return names


def _has_names(path: Path) -> bool:
    try:
        return "names" in _content(path)
    except UserError:
        return path.name == "data.yaml"  # then it is read again, and told


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}


def _names(path: Path, content: dict[str, Any]) -> list[str]:
    """In the order of their numbers. Raises UserError."""
    names = content["names"]
    if isinstance(names, dict):
        numbered = {str(number): name for number, name in names.items()}
        if sorted(numbered) != sorted(map(str, range(len(names)))):
            raise UserError(f"{path}: names: the numbers 0 to {len(names) - 1} are needed, found {[*names]}")
        names = [numbered[str(number)] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: names: a list, or a mapping from numbers to names, is needed; found {names!r}")
    if content.get("nc", len(names)) != len(names):
        raise UserError(f"{path}: nc: {content['nc']}, but there are {len(names)} names")
    for number, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise UserError(
                f"{path}: names: that of class {number} is read as {name!r}, as YAML has it; put it in quotes"
            )
    return distinct([str(name) for name in names], f"{path}: names")


def _splits(tree: Tree, path: Path, content: dict[str, Any]) -> Places:
    """Raises UserError for a place that is not there.

    The same folder for training and validation is none for validation; without one for testing, validation tests.
    """
    found: Places = {}
    keys: dict[str, SplitName] = {"train": "train", "val": "val", "valid": "val", "test": "test"}
    for key, split in keys.items():
        said = content.get(key)
        listed = said if isinstance(said, list) else [said] if said else []
        if not all(isinstance(each, str) and each for each in listed):
            raise UserError(f"{path}: {key}: folders of images or lists of them are needed, found {said!r}")
        places = [_place(tree, path, key, str(content.get("path") or ""), each) for each in listed]
        if places and not set(places) <= set(chain(*found.values())):
            found[split] = places
    if "val" in found and "test" not in found:
        found["test"] = found.pop("val")
    return found if "train" in found else {}


def _place(tree: Tree, path: Path, key: str, base: str, said: str) -> str:
    """Below the root: as YOLO reads it, and else by the end of its path, as it was where the data were made."""
    root = os.path.abspath(tree.root)  # links stay as they are
    inner = os.path.join("", *[part for part in Path(said).parts if part not in ("..", "/")])
    for candidate in (path.parent / base / said, path.parent / said, path.parent / inner):
        place = Path(os.path.abspath(candidate))
        if place.exists() and place.is_relative_to(root):
            return place.relative_to(root).as_posix()
    raise UserError(f"{path}: {key}: no folder {said!r} of images below {tree.root}")
