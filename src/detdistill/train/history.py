"""What a training leaves beside the weights: its curves and its cost."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from detdistill.core.timing import Spent

NATIVE, AREA = "native", "area"
"""Keys of `inside` in `learning.json` beside the methods' names."""


@dataclass
class History:
    """The logged steps, the validations, and the cost, validation included in `total`."""

    curve: list[dict[str, float]] = field(default_factory=list)
    learning: list[dict[str, Any]] = field(default_factory=list)
    total: Spent = Spent()
    validation: Spent = Spent()
    earlier: Spent = Spent()
    """The part of `total` that processes spent which were killed since."""

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> History:
        """Undo `dataclasses.asdict`, in a new process."""
        total = Spent(**saved["total"])
        return cls(saved["curve"], saved["learning"], total, Spent(**saved["validation"]), earlier=total)


@dataclass
class Window:
    """Sums of the loss terms over the steps since the last row of the curve."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, losses: dict[str, Tensor], share: float) -> None:
        """Add one backward pass, which is `share` of a step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + share * float(value.detach())

    def close(self) -> dict[str, float]:
        """The means, and a new beginning."""
        means = {name: value / self.steps for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


def csv_bytes(rows: list[dict[str, float]]) -> bytes:
    """The curve as CSV: one row a logged step, nine significant digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in rows)
    return text.getvalue().encode()
