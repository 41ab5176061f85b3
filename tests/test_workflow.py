"""Snakemake as its users know it: the linter, targets after `--config`, the HTML report."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import Clone

from detdistill.stages import FIGURES

ROOT = Path(__file__).resolve().parents[1]
COUNTED = "total          27"
COMMANDS = ["cnn --config study=smoke", "--config=study=smoke cnn"]
MODULE = """\
module detdistill:
    snakefile: "{snakefile}"
    config: {{"study": "smoke"}}

use rule * from detdistill as distillation_*

rule mine:
    default_target: True
    input: "reports/smoke.pdf"
    output: "mine.txt"
    shell: "ls -l {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def project(clone):
    return clone("workflow")


def test_the_linter_has_no_remark(project):
    assert "Congratulations" in project.run("snakemake", "--lint")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_target_stands_before_the_options_or_behind_an_equals_sign(project, command):
    assert COUNTED in project.run("snakemake", "-n", *command.split())


def test_the_html_report_holds_every_figure_and_statistic_with_its_caption(project):
    """Of a study whose reports are there: what they were made from is not asked for."""
    reports = project.root / "reports/smoke"
    reports.mkdir(parents=True)
    for figure in FIGURES:
        (reports / f"{figure}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    for name in ("summary.json", "cost.json"):
        (reports / name).write_text("{}")
    reports.with_suffix(".pdf").write_bytes(b"%PDF-1.4")
    reports.with_suffix(".html").write_text("<!doctype html>")
    project.run("snakemake", "--config", "study=smoke", "--report", "report.html")
    page = (project.root / "report.html").read_text()
    for name in ("smoke.pdf", "smoke.html", "summary.json", "cost.json", *(f"{figure}.svg" for figure in FIGURES)):
        assert f'"name": "{name}"' in page
    for category in ("Figures", "Numbers", "Report with all tables"):
        assert f'"{category}": ' in page
    assert "Gain in AP50 of every recipe over the plain student of its schedule" in page
    assert "The study <strong>smoke</strong>" in page


def test_every_figure_has_a_caption():
    assert {file.stem for file in (ROOT / "workflow/report").glob("*.rst")} >= set(FIGURES)


def test_another_workflow_uses_it_as_a_module(project, tmp_path):
    """In a folder of its own that has the study's parameters and nothing else of the project."""
    shutil.copytree(project.root / "params/smoke", tmp_path / "params/smoke")
    (tmp_path / "Snakefile").write_text(MODULE.format(snakefile=project.root / "Snakefile"))
    mine = Clone(tmp_path)
    mine.environment["PYTHONPATH"] = project.environment["PYTHONPATH"]
    planned = mine.run("snakemake", "--dry-run", "--cores", "1")
    assert re.search(r"^distillation_distill +10$", planned, re.MULTILINE)
    assert re.search(r"^total +46$", planned, re.MULTILINE)
    made = ("snakemake", "--cores", "1", "data/smoke/manifest.json")
    mine.run(*made)
    assert "Nothing to be done" in mine.run(*made, "--dry-run")


def test_the_catalogue_of_workflows_is_told_the_truth():
    told = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert told["report"] is True
    assert told["software-stack-deployment"]["conda"] == bool(list((ROOT / "workflow/envs").glob("*.yaml")))
    assert told["mandatory-flags"]["flags"].split()[-1] in COMMANDS[0]
