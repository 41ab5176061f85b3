"""The `report` step: the figures as SVG, and the PDF that Typst sets from them and the numbers."""

import json
from pathlib import Path

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
from detdistill.report.figures import classes, curves, dag, detections, gains, schedules, taxonomy
from detdistill.report.figures import cost as costs
from detdistill.report.figures.style import save
from detdistill.report.literature import Literature
from detdistill.report.names import Names

TEMPLATE = Path(__file__).with_name("report.typ")


def report(study_name: str) -> None:
    """Write `reports/STUDY/*.svg` and `reports/STUDY.pdf`.

    The same inputs and commit give the same bytes. Raises UserError when an input is missing or unreadable.
    """
    study = load_study(study_name)
    summary: Summary = read_json(intact(paths.summary(study_name)))  # type: ignore[assignment]
    cost: Cost = read_json(intact(paths.summary(study_name).with_name("cost.json")))  # type: ignore[assignment]
    manifest = manifests.load(study_name)
    literature = literatures.load()
    draw(study, summary, cost, manifest, literature)
    write_atomic(paths.report(study_name), typeset(study, summary, cost, manifest, literature))


def draw(study: Study, summary: Summary, cost: Cost, manifest: Manifest, literature: Literature) -> None:
    """The figures, each a file of its own."""
    names = Names(summary, literature)

    def at(name: str) -> Path:
        return paths.figure(study.study, name)

    save(at("gains"), gains.draw, summary, names, literature)
    save(at("taxonomy"), taxonomy.draw, summary, names, literature)
    save(at("schedules"), schedules.draw, summary, names)
    save(at("curves"), curves.draw, summary, names)
    save(at("cost"), costs.draw, summary, cost, names)
    save(at("classes"), classes.draw, summary, names, manifest)
    save(at("detections"), detections.draw, summary, names, manifest)
    save(at("dag"), dag.draw, study)


def typeset(study: Study, summary: Summary, cost: Cost, manifest: Manifest, literature: Literature) -> bytes:
    """The PDF, from the figures that `draw` wrote and the document's data."""
    provenance = provenances.collect(study, summary, manifest)
    content = document(study, summary, cost, manifest, provenance, literature)
    try:
        return typst.compile(  # type: ignore[type-var]  # the stub wants root to be of the template's type, bytes
            TEMPLATE.read_bytes(),
            root=str(paths.figure(study.study, "gains").parent.resolve()),
            font_paths=typst.Fonts(include_system_fonts=False),
            sys_inputs={"document": json.dumps(content, allow_nan=False)},
            timestamp=provenance.commit.time,
        )
    except typst.TypstError as error:
        raise UserError(f"{paths.report(study.study)}: Typst: {error.message}") from None
