"""What came of it, a row a kind of torture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from .forked import Outcome


@dataclass
class Row:
    """One kind: how often it was tried and every case that ended as none should, with what it said."""

    kind: str
    tried: int = 0
    silent: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.silent, *self.tracebacks, *self.executed, *self.outside]

    def judge(self, outcome: Outcome, case: str = "", killed: bool = False) -> None:
        """Count a traceback; one that was killed may have any exit code."""
        if "Traceback (most recent call last)" in outcome.said or (outcome.traceback and not killed):
            self.tracebacks.append(f"{case}: exit code {outcome.code}: {outcome.said[-400:]}")

    def differing(self, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Count files that are not those of the undisturbed study."""
        names = sorted(expected.keys() | found.keys())
        self.silent += [f"{name} differs" for name in names if expected.get(name) != found.get(name)]


def show(rows: list[Row]) -> None:
    """Print the table, after every fault."""
    console = Console(width=120)
    for row in rows:
        for fault in row.faults:
            console.print(f"{row.kind}: {fault}", markup=False, soft_wrap=True)
    table = Table("kind", "tried", "silent wrong", "tracebacks", "commands executed", "files outside touched", box=None)
    for row in rows:
        found = (row.silent, row.tracebacks, row.executed, row.outside)
        table.add_row(row.kind, str(row.tried), *(str(len(each)) for each in found))
    console.print(table)
