"""The study through a real SLURM cluster, by the profile that the project has for it."""

import json
import os
import re
import subprocess

import pytest
import slurm
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.skipif(slurm.absent() is not None, reason=str(slurm.absent()))]

PROFILE = ("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2")
PLAIN = "runs/smoke/faster_rcnn/plain/0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def project(clone, cluster):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    made = clone("on_cluster")
    path = os.pathsep.join([cluster["PATH"].partition(os.pathsep)[0], made.environment["PATH"]])
    made.environment |= {"SLURM_CONF": cluster["SLURM_CONF"], "PATH": path}
    return made


def jobs(environment) -> list[dict[str, str]]:
    """Every job that the cluster remembers."""
    found = subprocess.run(["scontrol", "show", "job"], env=environment, capture_output=True, text=True, check=True)
    return [dict(re.findall(r"(\w+)=(\S+)", job)) for job in found.stdout.split("\n\n") if "JobId" in job]


def test_steps_are_jobs_that_get_what_they_ask_for_and_end(project, cluster):
    """Data, a training in two processes and its evaluation; and what a failed job said is seen."""
    (project.root / "params/smoke/cluster.yaml").write_text("training: {gpu: 1, mem_mb: 1500}\n")
    project.environment |= {"DETDISTILL_PROCESSES": "2", "ACCELERATE_USE_CPU": "true"}
    command = ("snakemake", f"{PLAIN}/metrics.json", "--config", "study=smoke")
    project.run(*command, *PROFILE)
    done = {job["Comment"]: job for job in jobs(cluster)}
    assert [job["JobState"] for job in done.values()] == ["COMPLETED"] * 3
    [training] = [job for name, job in done.items() if "student" in name]
    assert "mem=1500M" in training["TRES"]
    assert training["TresPerJob"] == "gres:gpu:2"
    assert "[rank0]" in (project.root / "logs/smoke/faster_rcnn/plain/0/train.log").read_text()
    assert 0 <= json.loads((project.root / f"{PLAIN}/headline.json").read_text())["AP50"] <= 1
    project.environment.pop("DETDISTILL_PROCESSES")
    assert "Nothing to be done" in project.run(*command, "--dry-run")
    (project.root / f"{PLAIN}/model.safetensors").write_bytes(b"damaged")
    evaluate = (*command, *PROFILE, "--forcerun", "evaluate", "--rerun-triggers", "mtime", "--retries", "0")
    assert "model.safetensors: damaged: not what" in project.run(*evaluate, code=1)


def test_the_whole_study_ends_in_its_report(project, cluster):
    """Every step a job, from the data to the PDF, and a result that holds against its records."""
    before = len(jobs(cluster))
    project.run("snakemake", "--config", "study=smoke", *PROFILE)
    told = jobs(cluster)[before:]
    stages = yaml.safe_load((project.root / "params/smoke/dvc.yaml").read_text())["stages"]
    assert len(told) == len(stages)
    assert {job["JobState"] for job in told} == {"COMPLETED"}
    assert (project.root / "reports/smoke.pdf").read_bytes().startswith(b"%PDF-")
    verified = project.run("detdistill", "verify", "--study", "smoke")
    assert "0 damaged, 0 made from something that has changed" in verified
