"""Detectron2 where it is not installed, and `make detectron2`: what it registers, and what its extension computes."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ENVS = Path(__file__).parents[1] / "workflow" / "envs"
SOURCES = os.environ.get("DETECTRON2")
CODE = "import sys; sys.modules['detectron2'] = None; from detdistill.cli import main; main()"


def test_an_absent_engine_is_told_with_the_command_that_installs_it() -> None:
    command = [sys.executable, "-c", CODE, "check", "--study", "smoke_detectron2"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "error: params/smoke_detectron2/faster_rcnn/teacher.yaml: engine 'detectron2': detectron2 is not installed; "
        "'make detectron2' installs it"
    ]


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`workflow/envs/detectron2.py`, a script that finds `environment.py` beside it."""
    monkeypatch.syspath_prepend(ENVS)
    spec = spec_from_file_location("make_detectron2", ENVS / "detectron2.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "detectron2").mkdir(parents=True)
    (folder / "detectron2" / "__init__.py").write_text('__version__ = "0.6"\n')
    return folder


def test_the_version_names_the_commit_of_a_checkout_alone(step: ModuleType, sources: Path) -> None:
    assert step.commit(sources) == "local"
    about = sources.parent
    git = ["git", "-C", str(about), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *command], check=True)
    assert step.commit(sources) == "local"
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert step.commit(about) == f"g{head[:12]}"
    (about / "sources" / "detectron2" / "__init__.py").write_text('__version__ = "0.6"  # changed\n')
    assert step.commit(about) == f"g{head[:12]}.dirty"


def test_an_interrupted_checkout_is_made_anew(
    step: ModuleType, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-C", str(sources), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setattr(step, "SOURCE", str(sources))
    monkeypatch.setattr(step, "COMMIT", head)
    folder = tmp_path / "detectron2"
    step.fetch(folder)
    package = folder / "detectron2" / "__init__.py"
    assert package.is_file()
    shutil.rmtree(folder / "detectron2")  # git has the commit, but its files have not come out of it
    (folder / ".git" / "index.lock").touch()
    step.fetch(folder)
    assert package.is_file()
    package.write_text("# mine")
    step.fetch(folder)
    assert package.read_text() == "# mine"


def test_registered_sources_are_a_package_that_pip_lists_and_removes(
    step: ModuleType, sources: Path, tmp_path: Path
) -> None:
    step.VENV = tmp_path / "venv"
    venv.create(step.VENV)
    step.register(sources, "+gabc")
    code = "import detectron2, importlib.metadata as m; print(m.version('detectron2'), detectron2.__file__)"
    python = str(step.VENV / "bin" / "python")
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["0.6+gabc", str(sources / "detectron2" / "__init__.py")]
    pip = [sys.executable, "-m", "pip", "--python", python, "uninstall", "--yes", "detectron2"]
    subprocess.run(pip, check=True)
    assert not list(step.VENV.rglob("detectron2*"))


def test_compiled_and_plain_sources_compute_the_same_bytes() -> None:
    """Losses, gradients and detections of every family; needs a compiled Detectron2 and plain sources beside it."""
    pytest.importorskip("detectron2._C", reason="the engine detectron2 is not installed, or not compiled")
    if SOURCES is None:
        pytest.skip("DETECTRON2 names no plain sources")
    told = []
    for first in ([], [SOURCES]):
        path = os.pathsep.join([*first, str(ENVS.parents[1] / "src")])
        command = [sys.executable, Path(__file__).with_name("detectron2_bytes.py")]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
        )
        told.append(done.stdout.split())
    (compiled, digest), (plain, same) = told
    assert (compiled, plain) == ("compiled", "plain")
    assert digest == same
