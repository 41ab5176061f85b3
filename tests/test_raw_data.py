"""Raw data that DVC versions: pushed to a remote, they are in another clone without their server."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from small_data import SPLITS, make_voc

from detdistill.core.errors import UserError
from detdistill.core.files import sha256
from detdistill.data import download, make

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def dvc(*command: str) -> None:
    run(sys.executable, "-m", "dvc", command[0], "--quiet", *command[1:])


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A Git and DVC repository with a study of one archive: DETDISTILL_RAW has it, its server does not exist."""
    make_voc(tmp_path / "made/VOC")
    archive = tmp_path / "shelf/small/small.tar"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w") as packed:
        packed.add(tmp_path / "made/VOC", "VOC")
    monkeypatch.setenv(download.FOLDER, str(tmp_path / "shelf"))
    listed = {"url": "http://localhost:9/small.tar", "checksum": f"sha256:{sha256(archive)}", "mib": 1}
    source = {"name": "small", "archives": [listed], "mib": 1, "inside": "VOC"}
    project = tmp_path / "project"
    (project / "params/small").mkdir(parents=True)
    params = {"kind": "voc", "source": source, "splits": {name: [name] for name in SPLITS}}
    (project / "params/small/data.yaml").write_text(yaml.safe_dump(params))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, project)
    return project


def test_pushed_raw_data_come_back_without_their_server(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    run("git", "init", "--quiet")
    dvc("init")
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    make("small")
    dvc("add", "raw/small")
    dvc("push")
    run("git", "add", ".")
    run("git", "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "raw data")

    run("git", "clone", "--quiet", ".", str(tmp_path / "second"))
    monkeypatch.chdir(tmp_path / "second")
    monkeypatch.delenv(download.FOLDER)
    monkeypatch.setattr(download, "RETRIES", 0)
    with pytest.raises(UserError, match=r"small\.tar: not downloaded"):
        make("small")
    dvc("pull")
    make("small")
    manifests = [folder / "data/small/manifest.json" for folder in (project, Path())]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
