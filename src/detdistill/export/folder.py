"""Read an exported folder: the detector, as it was trained."""

from __future__ import annotations

from pathlib import Path

from detdistill.core.code import differs
from detdistill.core.errors import UserError
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
        UserError: a folder that was not exported, a file of it that is missing or damaged, an engine that is absent.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `detdistill export` writes one")
    if not (folder / CARD).is_file():
        raise UserError(f"{folder}: not an exported model: no {CARD} in it; `detdistill export` writes one")
    found, wrote = card.read(folder)
    for name, digest in wrote.items():
        if name != card.README and differs(folder / name, digest):
            raise UserError(f"{folder / name}: missing or damaged: not what `detdistill export` wrote; export it again")
    params = {name: _placed(folder, name, value) for name, value in found.detector.items()}
    detector = build(found.engine, params, len(found.classes), str(folder / CARD))
    load_weights(detector, folder / WEIGHTS)
    return detector.eval(), found


def portable(params: dict[str, object]) -> dict[str, object]:
    """Parameters that name files of the exported folder instead of those of this machine."""
    return {name: NAMES_FILE.get(name, value) for name, value in params.items()}


def _placed(folder: Path, name: str, value: object) -> object:
    return str(folder / str(value)) if name in NAMES_FILE else value
