"""A command runs the code of the project that it stands in, whichever copy of it is installed."""

import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("detdistill")


@pytest.fixture
def copy(clone):
    """A copy of the project whose code is not on PYTHONPATH: the environment's own installation is another's."""
    made = clone("copy")
    del made.environment["PYTHONPATH"]
    return made


def test_a_copy_that_shares_an_environment_runs_its_own_code(copy):
    code = copy.root / "src/detdistill/pipeline.py"
    code.write_text(code.read_text().replace("# The DAG of", "# Only this copy's DAG of"))
    for command in ((str(PROGRAM),), (sys.executable, "-m", "detdistill")):
        copy.run(*command, "pipeline", "--study", "smoke")
        file = copy.root / "params/smoke/dvc.yaml"
        assert file.read_text().startswith("# Only this copy's DAG of the study smoke")
        file.unlink()


def test_a_copy_whose_code_cannot_be_run_is_refused_in_one_line(copy):
    copy.environment["DETDISTILL_TREE"] = str(copy.root / "src/detdistill")
    said = copy.run(str(PROGRAM), "pipeline", code=2)
    assert said.startswith(f"error: {copy.root}/src/detdistill: the code of this project is not what runs")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_a_queued_experiment_runs_the_code_that_was_queued(copy):
    copy.run("git", "add", ".")
    copy.run("git", "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "the project")
    stage, code = "params/smoke/dvc.yaml:data", copy.root / "src/detdistill/data/digits.py"
    right = code.read_text()
    code.write_text(f"{right}\nraise RuntimeError('the queued code')\n")
    copy.run("dvc", "exp", "run", "--queue", "--name", "queued", stage)
    code.write_text(right)
    said = copy.run("dvc", "exp", "run", "--run-all")  # it ends with 0 although what it ran has failed
    assert "RuntimeError: the queued code" in said
    assert "Failed to reproduce experiment(s) 'queued'" in said
    copy.run("dvc", "exp", "run", stage)
    assert (copy.root / "data/smoke/manifest.json").exists()
