"""Two at once on one study: the second driver gets one line and touches nothing, a second step waits."""

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest

SNAKEMAKE = (sys.executable, "-m", "snakemake", "--cores", "1", "--config", "study=smoke")
DATA = (sys.executable, "-m", "detdistill", "data", "--study", "smoke")
MADE = "data/smoke/manifest.json"


@pytest.fixture(scope="module")
def shared(clone):
    return clone("shared")


@pytest.fixture
def held(shared):
    """Takes the turn for somebody else, until the test ends."""
    file = shared.root / ".scratch/turn/smoke"
    file.parent.mkdir(parents=True, exist_ok=True)
    (shared.root / MADE).unlink(missing_ok=True)
    with open(file, "w") as stream:

        def take(who):
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.write(f"{who}, process 1234,")
            stream.flush()
            return stream

        yield take


def test_a_step_is_refused_while_snakemake_is_at_work(shared, held):
    held("snakemake")
    said = shared.run(*DATA, code=2)
    assert said.strip() == (
        "error: study 'smoke': snakemake, process 1234, is at work on it in this folder; wait for it, or stop it"
    )
    assert not (shared.root / MADE).exists()


def test_snakemake_is_refused_while_a_step_is_at_work_and_plans_all_the_same(shared, held):
    held("detdistill tune")
    assert "detdistill tune, process 1234, is at work on it" in shared.run(*SNAKEMAKE, "--", MADE, code=1)
    assert not (shared.root / MADE).exists()
    assert "Make the images of smoke" in shared.run(*SNAKEMAKE, "--dry-run", "--", MADE)


def test_a_step_waits_for_another_and_the_steps_of_snakemake_do_not_wait_for_it(shared, held):
    stream = held("detdistill tune")
    waiting = subprocess.Popen(DATA, cwd=shared.root, env=shared.environment, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr.readline() == "study 'smoke': waiting for detdistill tune, process 1234,\n"
    time.sleep(0.5)
    assert waiting.poll() is None
    fcntl.flock(stream, fcntl.LOCK_UN)
    assert waiting.wait(timeout=120) == 0
    Path(shared.root / MADE).unlink()
    shared.run(*SNAKEMAKE, "--", MADE)
    assert (shared.root / MADE).exists()
