"""The report of several studies of the same images: what `detdistill join` writes."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detdistill.analysis import compare
from detdistill.analysis.cost import Cost
from detdistill.analysis.join import costs, join, owners, repeated
from detdistill.analysis.summary import Summary, distilled
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_json, sha256, write_json
from detdistill.core.params import NAME
from detdistill.core.record import intact
from detdistill.report import limitations, literature, numbers, prose, provenance
from detdistill.report.citations import Citations
from detdistill.report.document import parts
from detdistill.report.figures import cost as costs_figure
from detdistill.report.figures import gains, pareto, schedules, taxonomy
from detdistill.report.figures.style import save
from detdistill.report.literature import Literature
from detdistill.report.names import Names
from detdistill.report.tables import Group, Table
from detdistill.report.typeset import print_both


def joint(name: str, title: str, studies: Sequence[str]) -> None:
    """Write `reports/NAME.pdf`, its page for screens, its figures and its summary, from the studies' own summaries.

    The same summaries and commit give the same bytes. Raises UserError where they cannot be joined.
    """
    if not re.fullmatch(NAME, name):
        raise UserError(f"{name!r} cannot name a report: letters, digits and underscores are allowed")
    if len(set(studies)) < max(len(studies), 2):
        raise UserError(f"{', '.join(studies)}: name two different studies or more to join")
    if paths.params(name, "study").exists():
        raise UserError(f"{name}: a study has this name; its report would be overwritten")
    read = [compare.read(str(intact(paths.summary(study)))) for study in studies]
    told: list[Cost] = [read_json(intact(paths.summary(study).with_name("cost.json"))) for study in studies]  # type: ignore[misc]
    summary, cost, papers = join(name, title, read), costs(read, told), literature.load()
    names = Names(summary, papers)
    content, figures = _content(summary, cost, read, names, papers), _draw(summary, cost, names, papers)
    write_json(paths.summary(name), summary)
    print_both(paths.report(name), "joint.typ", content, figures, provenance.commit().time)


def _draw(summary: Summary, cost: Cost, names: Names, papers: Literature) -> list[Path]:
    files = [paths.figure(summary["study"], each) for each in ("gains", "taxonomy", "schedules", "cost", "pareto")]
    save(files[0], gains.draw, summary, names, papers)
    save(files[1], taxonomy.draw, summary, names, papers)
    save(files[2], schedules.draw, summary, names)
    save(files[3], costs_figure.draw, summary, cost, names)
    save(files[4], pareto.draw, summary, cost, names)
    return files


def _content(
    summary: Summary, cost: Cost, studies: Sequence[Summary], names: Names, papers: Literature
) -> dict[str, Any]:
    content = parts(summary, cost, names, papers, Citations(papers))
    joined = numbers.counted(len(studies), "study", "studies")
    asked = prose.asked(summary, f"“{summary['title']}”, in {joined} of the same images")
    return content | {
        "studies": joined,
        "seeds": numbers.counted(len(summary["seeds"]), "seed"),
        "abstract": f"{asked} {prose.answered(summary, cost, names)}",
        "repeated": _repeated(studies, names),
        "limitations": limitations.limitations(summary, names, ""),
        "tables": content["tables"] | {"sources": asdict(_sources(studies, names))},
    }


def _repeated(studies: Sequence[Summary], names: Names) -> str:
    """What several of the studies have trained, and how well they agree."""
    found = repeated(studies)
    if not found:
        return ""
    pairs = dict.fromkeys(pair for pair, _ in found)
    told = [
        f"{names.pair(pair)} ({numbers.listing([names.recipe(pair, recipe) for of, recipe in found if of == pair])})"
        for pair in pairs
    ]
    return (
        f"More than one of them trains {numbers.listing(told)}: shown is the study with most recipes of the pair, and "
        f"the others' mean AP50 differs from it by at most {numbers.points(max(found.values()))} points."
    )


def _sources(studies: Sequence[Summary], names: Names) -> Table:
    of = owners(studies)
    rows = []
    for study in studies:
        taken = [pair for pair, owner in of.items() if owner is study]
        recipes = sum(not stats["like"] for pair in taken for stats in distilled(study["pairs"][pair]).values())
        pairs = numbers.listing([names.pair(pair) for pair in taken]) or numbers.NONE
        rows.append([study["study"], pairs, str(recipes), sha256(paths.summary(study["study"]))[:12]])
    return Table(["Study", "Pairs", "Recipes", "Summary (sha256)"], "llrl", [Group(None, rows)])
