"""What every layout is told by: the words of `data.yaml`, and where the data lie, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["voc", "coco", "yolo", "csv"]


@dataclass(frozen=True)
class Layout:
    """`values` are the keys of `data.yaml` that say how the data lie; `said` is the same as part of a sentence."""

    kind: Kind
    values: dict[str, Any]
    said: str
    left: Sequence[str] = ()
    """What became no split, though it could be one."""
