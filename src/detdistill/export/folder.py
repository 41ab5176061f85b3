"""Read an exported folder: the detector, as it was trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detdistill.core.code import differs
from detdistill.core.errors import UserError
from detdistill.core.params import read_yaml
from detdistill.detectors import build
from detdistill.detectors.base import Detector
from detdistill.detectors.weights import load_weights
from detdistill.export import card
from detdistill.export.card import CARD, Card

WEIGHTS = "model.safetensors"
HERE = "."
"""What a parameter says that names a file of the folder itself."""
NAMES_FILE = {"pretrained": HERE, "config": "config.yaml"}
"""Parameters of a detector that name what the folder has."""
LEAVE = "allow_"
"""What those begin with that give a file leave to run code; an exported folder never has it."""
PACKAGE = """\
With detdistill installed, since {why}:

```python
from pathlib import Path

from detdistill.export.folder import load
from detdistill.export.shrink import predict
from torchvision.io import decode_image

detector, card = load(Path("."))
image = decode_image("image.png", mode="RGB")
[found] = predict(detector, [image], card.resize)  # boxes xyxy in pixels of the image, scores, labels from 0
```
"""


def load(folder: Path) -> tuple[Detector, Card]:
    """The detector of an exported folder, ready to detect, and its card.

    Raises:
        UserError: a folder that was not exported, a file of it that is missing or damaged, an engine that is absent, a
            card that names other files or gives leave to run code.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `detdistill export` writes one")
    if not (folder / CARD).is_file():
        raise UserError(f"{folder}: not an exported model: no {CARD} in it; `detdistill export` writes one")
    found, wrote = card.read(folder)
    for name, digest in wrote.items():
        if name != card.README and differs(folder / name, digest):
            raise UserError(f"{folder / name}: missing or damaged: not what `detdistill export` wrote; export it again")
    detector = build(found.engine, _placed(folder, found.detector), len(found.classes), str(folder / CARD))
    load_weights(detector, folder / WEIGHTS)
    return detector.eval(), found


def portable(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters that name files of the exported folder instead of those of this machine, and give no leave."""
    return {
        name: NAMES_FILE.get(name, portable(value) if isinstance(value, dict) else value)
        for name, value in params.items()
        if not name.startswith(LEAVE)
    }


def _placed(folder: Path, params: dict[str, Any]) -> dict[str, Any]:
    """A card's parameters with the paths of the folder's files, none of which can run code. Raises UserError."""
    where = f"{folder / CARD}: detector"
    if given := next(_leave(params), None):
        raise UserError(f"{where}.{given}: nothing in an exported folder is run; allowed: false. Export it again")
    named = {name: params[name] for name in NAMES_FILE if name in params}
    for name, value in named.items():
        if value != NAMES_FILE[name]:
            raise UserError(f"{where}.{name}: {value!r} is not what `detdistill export` writes: {NAMES_FILE[name]!r}")
    if "config" in named:
        _require_plain(folder / NAMES_FILE["config"])
    return params | {name: str(folder / value) for name, value in named.items()}


def _leave(params: dict[str, Any], above: str = "") -> Iterator[str]:
    """The parameters that give leave to run code."""
    for name, value in params.items():
        if isinstance(value, dict):
            yield from _leave(value, f"{above}{name}.")
        elif name.startswith(LEAVE) and value:
            yield above + name


def _require_plain(config: Path) -> None:
    """Raise UserError for a config of Detectron2 that holds more than values, or that begins with another file."""
    content = read_yaml(config)
    if not isinstance(content, dict) or "_BASE_" in content:
        raise UserError(f"{config}: not what `detdistill export` writes: a mapping without _BASE_ is needed")
