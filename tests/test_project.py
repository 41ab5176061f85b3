"""`detdistill init`: the package alone, from its wheel, is enough to start a project."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import Clone

from detdistill.project import PARTS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(clone, tmp_path_factory) -> Path:
    """The wheel of the project, unpacked as an installer does it; a path for PYTHONPATH."""
    made, wheels = clone("source"), tmp_path_factory.mktemp("wheels")
    made.run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels))
    [wheel] = wheels.glob("*.whl")
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture
def outside(installed, tmp_path) -> Clone:
    """An empty folder where the installed package is what runs."""
    made = Clone(tmp_path)
    made.environment["PYTHONPATH"] = str(installed)
    return made


def test_the_wheel_holds_every_part():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {part: f"detdistill/project/{part}" for part in PARTS}


@pytest.mark.slow
def test_both_drivers_run_a_step_in_a_new_folder_by_the_installed_code(outside, installed):
    """And have nothing to do afterwards; a change of the installed code is seen."""
    outside.run("detdistill", "init", ".")
    assert not (outside.root / "src").exists()
    assert outside.run("detdistill", "check", "--study", "smoke") == ""
    made = ("snakemake", "--config=study=smoke", "data/smoke/manifest.json")
    outside.run(*made)
    manifest = (outside.root / "data/smoke/manifest.json").read_bytes()
    assert "Nothing to be done" in outside.run(*made, "--dry-run")
    planned = outside.run("snakemake", "--config", "study=smoke", "--dry-run")
    assert re.search(r"^total +45$", planned, re.MULTILINE)
    outside.run("git", "init", "--quiet")
    stage = "params/smoke/dvc.yaml:data"
    outside.run("dvc", "repro", stage)
    assert (outside.root / "data/smoke/manifest.json").read_bytes() == manifest
    assert "up to date" in outside.run("dvc", "status", stage)
    with (installed / "detdistill/data/digits.py").open("a") as code:
        code.write("\n")
    assert "changed deps" in outside.run("dvc", "status", stage)
    assert "Nothing to be done" not in outside.run(*made, "--dry-run")


def test_a_checkout_lays_out_the_same(clone, installed, tmp_path):
    made = clone("checkout")
    made.run("detdistill", "init", str(tmp_path / "by_checkout"))
    environment = os.environ | {"PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-m", "detdistill", "init", "by_wheel"], cwd=tmp_path, env=environment, check=True)
    laid = [
        {file.relative_to(folder): file.read_text() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "by_checkout", tmp_path / "by_wheel")
    ]
    assert laid[0].keys() == laid[1].keys()
    differing = {file.as_posix() for file in laid[0] if laid[0][file] != laid[1][file]}
    assert differing == {"dvc.yaml", "params/smoke/dvc.yaml"}  # they name the files of the package


def test_nothing_is_overwritten(outside):
    (outside.root / "Snakefile").write_text("mine")
    said = outside.run("detdistill", "init", ".", code=2)
    assert said == "error: Snakefile: is there already; init writes only where nothing is in its way\n"
    assert [file.name for file in outside.root.iterdir()] == ["Snakefile"]


@pytest.mark.slow
def test_a_whole_study_comes_out_of_a_new_folder(outside):
    outside.run("detdistill", "init", ".")
    file = outside.root / "params/smoke/study.yaml"
    plan = yaml.safe_load(file.read_text())
    parts = {part: plan[part][:1] for part in ("seeds", "pairs", "plain", "distilled")}  # one of each: PKD alone
    file.write_text(yaml.safe_dump(plan | parts))
    outside.run("snakemake", "--config", "study=smoke")
    assert (outside.root / "reports/smoke.pdf").read_bytes().startswith(b"%PDF-")
    assert "Nothing to be done" in outside.run("snakemake", "--config", "study=smoke", "--dry-run")
