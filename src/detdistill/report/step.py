"""The `report` step: the figures as SVG, and the PDF and the HTML page that Typst sets from them and the numbers."""

import json
from pathlib import Path
from typing import Any, Literal

import typst

from detdistill.analysis.cost import Cost
from detdistill.analysis.summary import Summary
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.core.files import read_json, write_atomic
from detdistill.core.params import Study, load_study
from detdistill.core.record import intact
from detdistill.dataset import manifest as manifests
from detdistill.dataset.manifest import Manifest
from detdistill.report import literature as literatures
from detdistill.report import provenance as provenances
from detdistill.report.document import document
from detdistill.report.figures import classes, curves, dag, detections, gains, pareto, schedules, taxonomy
from detdistill.report.figures import cost as costs
from detdistill.report.figures.style import save
from detdistill.report.literature import Literature
from detdistill.report.names import Names

TEXT = Path(__file__).with_name("report.typ")
Form = Literal["pdf", "html"]
LOOKS: dict[Form, tuple[str, ...]] = {"pdf": ("paper.typ",), "html": ("screen.typ", "screen.css", "screen.js")}
"""The look that the text imports, and the files that the look reads."""


def report(study_name: str) -> None:
    """Write `reports/STUDY/*.svg`, `reports/STUDY.pdf` and `reports/STUDY.html`.

    The same inputs and commit give the same bytes. Raises UserError when an input is missing or unreadable.
    """
    study = load_study(study_name)
    summary: Summary = read_json(intact(paths.summary(study_name)))  # type: ignore[assignment]
    cost: Cost = read_json(intact(paths.summary(study_name).with_name("cost.json")))  # type: ignore[assignment]
    manifest = manifests.load(study_name)
    literature = literatures.load()
    figures = draw(study, summary, cost, manifest, literature)
    provenance = provenances.collect(study, summary, manifest)
    content = document(study, summary, cost, manifest, provenance, literature)
    paper = paths.report(study_name)
    write_atomic(paper, typeset(content, figures, provenance.commit.time, "pdf"))
    write_atomic(paper.with_suffix(".html"), typeset(content, figures, provenance.commit.time, "html"))


def draw(study: Study, summary: Summary, cost: Cost, manifest: Manifest, literature: Literature) -> list[Path]:
    """The figures, each a file of its own."""
    names = Names(summary, literature)
    drawn = []

    def at(name: str) -> Path:
        drawn.append(paths.figure(study.study, name))
        return drawn[-1]

    save(at("gains"), gains.draw, summary, names, literature)
    save(at("taxonomy"), taxonomy.draw, summary, names, literature)
    save(at("schedules"), schedules.draw, summary, names)
    save(at("curves"), curves.draw, summary, names)
    save(at("cost"), costs.draw, summary, cost, names)
    save(at("pareto"), pareto.draw, summary, cost, names)
    save(at("classes"), classes.draw, summary, names, manifest)
    save(at("detections"), detections.draw, summary, names, manifest)
    save(at("dag"), dag.draw, study)
    return drawn


def typeset(content: dict[str, Any], figures: list[Path], time: int, form: Form) -> bytes:
    """The document in one of its forms; `time` is what a PDF says of when it was made, in seconds since 1970."""
    look, *read = LOOKS[form]
    sources = {
        "main.typ": TEXT.read_bytes(),
        "look.typ": TEXT.with_name(look).read_bytes(),
        "document.json": json.dumps(content, allow_nan=False).encode(),
        **{name: TEXT.with_name(name).read_bytes() for name in read},
        **{figure.name: figure.read_bytes() for figure in figures},
    }
    fonts = typst.Fonts(include_system_fonts=False)
    try:
        return typst.compile(sources, format=form, font_paths=fonts, timestamp=time)  # type: ignore[call-overload,no-any-return]  # the stub has no dict
    except typst.TypstError as error:
        raise UserError(f"{content['study']}.{form}: Typst: {error.message}") from None
