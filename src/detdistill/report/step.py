"""The `report` step: the figures as SVG, and the PDF and the HTML page that Typst sets from them and the numbers."""

from pathlib import Path

from detdistill.analysis.cost import Cost
from detdistill.analysis.summary import Summary
from detdistill.core import paths
from detdistill.core.files import read_json
from detdistill.core.params import Study, load_study
from detdistill.core.record import intact
from detdistill.dataset import manifest as manifests
from detdistill.dataset.manifest import Manifest
from detdistill.report import literature as literatures
from detdistill.report import provenance as provenances
from detdistill.report.document import document
from detdistill.report.figures import classes, curves, dag, detections, gains, maps, pareto, schedules, taxonomy
from detdistill.report.figures import cost as costs
from detdistill.report.figures.style import save
from detdistill.report.literature import Literature
from detdistill.report.names import Names
from detdistill.report.typeset import print_both


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
    print_both(paths.report(study_name), "report.typ", content, figures, provenance.commit.time)


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
    save(at("maps"), maps.draw, summary, names, manifest)
    save(at("dag"), dag.draw, study)
    return drawn
