"""The page of `detdistill compare`: two runs of one study side by side, in the look of the report."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from detdistill.analysis.compare import Figure, Line, verdict
from detdistill.analysis.summary import Summary
from detdistill.core.errors import UserError
from detdistill.core.files import write_atomic
from detdistill.report import literature, numbers, provenance
from detdistill.report.figures import agreement
from detdistill.report.figures.style import save
from detdistill.report.names import Names
from detdistill.report.tables import Group, Table, lean
from detdistill.report.typeset import Form, typeset


def page(path: Path, first: Summary, second: Summary, lines: Sequence[Line], places: tuple[str, str]) -> None:
    """Write the page, a PDF or HTML by the ending of its name; equal summaries and code of one commit, equal bytes.

    Args:
        lines: what `analysis.compare.compare` found.
        places: where the two summaries were read.

    Raises:
        UserError: another ending.
    """
    form = checked(path)
    names = Names(first, literature.load())
    content = _content(first, second, lines, places, names)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "agreement.svg")
        save(drawn, agreement.draw, lines, names)
        write_atomic(path, typeset("comparison.typ", content, [drawn], provenance.commit().time, form))


def checked(path: Path) -> Form:
    """The form that the name of a page asks for. Raises UserError for another ending."""
    for form in get_args(Form):
        if path.suffix == f".{form}":
            return form  # type: ignore[no-any-return]
    raise UserError(f"{path}: a page ends in {' or '.join(f'.{form}' for form in get_args(Form))}")


def _content(
    first: Summary, second: Summary, lines: Sequence[Line], places: tuple[str, str], names: Names
) -> dict[str, Any]:
    return {
        "study": first["study"],
        "title": first["title"],
        "reproduced": all(line.agrees for line in lines),
        "verdict": f"{_capital(verdict(list(lines)))}.",
        "figures": sum(len(line.figures) for line in lines),
        "tuned": any(line.tuned for line in lines),
        "tables": {"sources": asdict(_sources((first, second), places)), "figures": asdict(_figures(lines, names))},
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sources(studies: tuple[Summary, Summary], places: tuple[str, str]) -> Table:
    rows = [
        [name, place, ", ".join(map(str, study["seeds"])), study["data"][:12], str(len(study["params"]))]
        for name, place, study in zip(("First", "Second"), places, studies, strict=True)
    ]
    return Table(["Run", "Summary", "Seeds", "Images (digest)", "Equal slices"], "lllll", [Group(None, rows)])


def _figures(lines: Sequence[Line], names: Names) -> Table:
    header, each = ["Recipe"], ["First\n(%)", "Second\n(%)", "Difference\n(points)", "Chance\nallows", "Verdict"]
    groups = []
    for pair in dict.fromkeys(line.pair for line in lines):
        rows = []
        for line in (each for each in lines if each.pair == pair):
            tuned = "{:g}×, {:g}×".format(*line.tuned) if line.tuned else ""
            rows.append(
                [names.recipe(pair, line.recipe), *(cell for one in line.figures for cell in _cells(one)), tuned]
            )
        groups.append(Group(names.pair(pair), rows))
    titles = [figure.name for figure in lines[0].figures]
    spans = [("", 1), *((title, len(each)) for title in titles), ("", 1)]
    align = "l" + "rrrrl" * len(titles) + "l"
    return lean(Table([*header, *each * len(titles), "Tuned to"], align, groups, spans))


def _cells(figure: Figure) -> list[str]:
    if figure.first is None or figure.second is None:
        return [numbers.points(figure.first), numbers.points(figure.second), "", "", "missing"]
    allowed = f"± {numbers.points(figure.allowed)}" if figure.allowed is not None else ""
    difference = numbers.points(figure.second - figure.first, signed=True)
    told = "agrees" if figure.agrees else "differs"
    return [numbers.points(figure.first), numbers.points(figure.second), difference, allowed, told]
