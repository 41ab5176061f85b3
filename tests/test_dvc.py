"""DVC as its users know it: curves over one another, experiments in a screen's width, a clone for one's own study."""

import json
import shutil
import subprocess

import pytest
import yaml

from detdistill.core import paths
from detdistill.core.files import write_json

RECIPES = ("plain", "plain_2x", "pkd")
NARROW = ("--drop", ".*", "--keep", "Experiment|.*faster_rcnn/(plain|pkd)/0/headline.json:AP50$")
"""As in docs/drivers.md."""
CHROMIUM = shutil.which("chromium")
ALONE = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def project(clone):
    """The study `smoke` with some results, committed."""
    made = clone("dvc")
    for recipe in RECIPES:
        for seed in (0, 1):
            run = made.root / paths.run("smoke", "faster_rcnn", recipe, seed, "")
            run.mkdir(parents=True)
            (run / "learning.json").write_text(json.dumps([{"step": step, "AP50": step / 10} for step in (1, 2)]))
            write_json(run / "headline.json", {"AP": 0.1, "AP50": 0.2, "val_AP50": 0.3})
    commit(made)
    return made


def commit(made) -> None:
    made.run("git", "add", ".")
    made.run("git", "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", "the project")


def test_the_curves_of_plain_and_distilled_students_lie_over_one_another(project):
    shown = project.run("dvc", "plots", "show", "--json", "learning-faster_rcnn").splitlines()
    plots = json.loads(next(line for line in shown if line.startswith("{")))["data"]
    [plot] = plots["params/smoke/dvc.yaml::learning-faster_rcnn"]
    drawn = {(each["filename"], each["step"], each["AP50"]) for each in plot["content"]["data"]["values"]}
    assert drawn == {(f"{recipe}/0/learning.json", step, step / 10) for recipe in RECIPES for step in (1, 2)}


@pytest.mark.skipif(not CHROMIUM, reason="no chromium here to show the page")
def test_the_page_of_curves_needs_no_network(project, tmp_path):
    project.run("dvc", "plots", "show", "learning-faster_rcnn", "--out", str(tmp_path))
    own = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'user'}")
    command = [CHROMIUM, *ALONE, *own, "--dump-dom", f"file://{tmp_path}/index.html"]
    page = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert page.count("<polyline") == len(RECIPES)
    assert all(f">workspace {recipe}/0/learning.json</text>" in page for recipe in RECIPES)


def test_experiments_fit_a_screen(project):
    wide, narrow = (project.run("dvc", "exp", "show", "--md", *options) for options in ((), NARROW))
    assert max(map(len, wide.splitlines())) > 1000
    table = [line for line in narrow.splitlines() if line.startswith("|")]
    assert len(table) > 2
    assert max(map(len, table)) < 160
    assert "pkd/0/headline.json:AP50" in table[0]


def test_a_clone_for_one_study_does_not_miss_the_results_of_another(clone, tmp_path):
    """The line that docs/drivers.md names for it; here the study is its first step alone, to be quick."""
    made = clone("alone")
    with (made.root / ".dvcignore").open("a") as ignored:
        ignored.write("/dvc.yaml\n")
    pipeline = made.root / "params/smoke/dvc.yaml"
    stage = yaml.safe_load(pipeline.read_text())["stages"]["data"]
    pipeline.write_text(yaml.safe_dump({"stages": {"data": stage}}))
    commit(made)
    made.environment |= {f"GIT_{who}_{what}": "n" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    made.run("dvc", "exp", "run", "--name", "mine", "params/smoke/dvc.yaml")
    made.run("git", "clean", "--force", "--quiet", "params")
    made.run("dvc", "exp", "apply", "mine")
    assert (made.root / "params/smoke/dvc.lock").exists()
    assert "digits" not in made.run("dvc", "metrics", "show")
    made.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    assert "files pushed" in made.run("dvc", "push")
