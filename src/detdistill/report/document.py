"""Everything that the report says, as plain data: the template only sets it."""

import datetime
from dataclasses import asdict
from typing import Any

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.cost import Cost
from detdistill.analysis.matching import IOU
from detdistill.analysis.summary import Summary, by_level
from detdistill.core.params import Study
from detdistill.dataset.manifest import Manifest
from detdistill.report import appendix_tables, limitations, numbers, prose, setup_prose, setup_tables, tables, verdicts
from detdistill.report.citations import Citations
from detdistill.report.figures import classes, gains, pictures, schedules
from detdistill.report.figures.dag import counts
from detdistill.report.literature import REVIEW, Literature
from detdistill.report.names import Names
from detdistill.report.provenance import UNKNOWN, Provenance
from detdistill.report.tables import Table


def document(
    study: Study, summary: Summary, cost: Cost, manifest: Manifest, provenance: Provenance, literature: Literature
) -> dict[str, Any]:
    """Sentences, tables and references of the report, all of them strings that are ready to print."""
    names, citations = Names(summary, literature), Citations(literature)
    review = citations.mark(REVIEW).strip()
    content = parts(summary, cost, names, literature, citations)
    return content | {
        "seeds": numbers.counted(len(study.seeds), "seed"),
        "date": _date(provenance),
        "abstract": prose.abstract(summary, cost, names, manifest),
        "review": review,
        "setup": setup_prose.setup(study, manifest, names),
        "limitations": [
            *limitations.accelerated(provenance),
            *limitations.limitations(summary, names, limitations.trained_on(manifest, provenance)),
        ],
        "chosen": numbers.listing([_chosen(summary, pair, names) for pair in summary["pairs"]]),
        "numbered": classes.numbered(manifest),
        "cut": any(pictures.cut(record) for record in manifest.split(pictures.SPLIT).records),
        "iou": f"{IOU:g}",
        "tables": content["tables"]
        | {
            "splits": asdict(setup_tables.splits(manifest)),
            "detectors": [asdict(table) for table in setup_tables.detectors(study, names)],
            "training": asdict(setup_tables.training(study, names, manifest.splits["train"].images)),
            "costs": asdict(setup_tables.costs(provenance, names)),
            "origin": asdict(_origin(provenance, counts(study))),
        },
    }


def parts(summary: Summary, cost: Cost, names: Names, literature: Literature, citations: Citations) -> dict[str, Any]:
    """What `parts.typ` prints: all that is said of a summary, of one study or of several joined."""
    pairs = summary["pairs"]
    tuning, equal_cost = appendix_tables.tuning(summary, names), tables.equal_cost(summary, cost, names)
    methods = setup_tables.methods(summary, names, literature, citations)
    return {
        "study": summary["study"],
        "title": summary["title"],
        "judged": verdicts.judged(summary),
        "common": bool(gains.common_methods(summary)),
        "no_effect": verdicts.NO_EFFECT,
        "findings": [prose.findings(content, pair, names) for pair, content in pairs.items()],
        "together": [told for pair, content in pairs.items() if (told := prose.together(content, pair, names))],
        "ladder": [told for pair, content in pairs.items() if (told := prose.ladder(content, pair, names))],
        "several": any(schedules.several(content) for content in pairs.values()),
        "equal_cost": prose.equal_cost(summary, cost),
        "at_equal_cost": [
            told
            for pair, content in pairs.items()
            if (told := prose.at_equal_cost(content, cost["pairs"][pair], pair, names))
        ],
        "share": " or ".join(
            sorted({f"{tuned['share']:g}" for _, _, stats in by_level(summary) if (tuned := stats["tuned"])})
        ),
        "changed": [told for pair, content in pairs.items() if (told := prose.changed(content, pair, names))],
        "sizes": numbers.listing([numbers.count(bound) for bound in summary["size_bounds"]]),
        "tables": {
            "methods": asdict(methods),
            "results": asdict(tables.results(summary, names, literature)),
            "price": asdict(tables.price(summary, cost, names)),
            "equal_cost": asdict(equal_cost) if equal_cost else None,
            "mistakes": asdict(tables.mistakes(summary, names)),
            "regions": asdict(tables.regions(summary, names, literature)),
            "tuning": asdict(tuning) if tuning else None,
            "seeds": asdict(appendix_tables.seeds(summary, cost, names)),
            "sensitivity": asdict(appendix_tables.sensitivity(summary, names)),
            "models": asdict(tables.models(summary, cost, names)),
            "published": asdict(setup_tables.published(summary, literature, citations)),
        },
        "references": citations.entries(),
    }


def _chosen(summary: Summary, pair: str, names: Names) -> str:
    best = best_recipe(summary["pairs"][pair])
    return f"{names.recipe(pair, best) if best else 'none'} for {names.pair(pair)}"


def _date(provenance: Provenance) -> str | None:
    """The day of the commit, since the report is a function of its inputs and not of when it was compiled."""
    if provenance.commit.name == UNKNOWN:
        return None
    return datetime.datetime.fromtimestamp(provenance.commit.time, datetime.UTC).strftime("%-d %B %Y")


def _origin(provenance: Provenance, steps: dict[str, int]) -> Table:
    """What identifies the inputs of the report."""
    commit = provenance.commit
    state = {True: " with uncommitted changes", False: ", clean", None: ""}[commit.dirty]
    machines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.1f} GiB, "
        f"{machine['platform']}, Python {machine['python']}"
        + (f", accelerator {machine['accelerator']}" if "accelerator" in machine else "")
        for machine in provenance.machines
    ]
    versions = ", ".join(f"{name} {' and '.join(found)}" for name, found in provenance.versions.items())
    rows = [
        ["Commit", f"{commit.name}{state}"],
        ["Data", f"sha256 {provenance.data_digest}"],
        ["Params", f"sha256 {provenance.params_digest} ({numbers.counted(provenance.params_files, 'file')})"],
        ["Versions", versions],
        *(["Machine", machine] for machine in machines),
        ["Steps", f"{sum(steps.values())} in the study"],
    ]
    return Table([], "ll", [tables.Group(None, rows)])
