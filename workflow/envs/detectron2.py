"""Put Detectron2 into `.venv`: the sources of one tested commit, and what they import. Needs `make environment` first.

DETECTRON2=/folder takes sources that lie there instead. COMPILE=1 builds the extension too, in some minutes; without
it torchvision's operators are used, which is enough for the detectors of this project.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from environment import VENV, pip, run

PYTHON = str(VENV / "bin" / "python")
LOCK = Path(__file__).with_name("detectron2.lock")
SOURCE = "https://github.com/facebookresearch/detectron2"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # main of June 2026


def main() -> None:
    given = os.environ.get("DETECTRON2")
    folder = Path(given).resolve() if given else VENV / "detectron2"
    if given and not (folder / "detectron2" / "__init__.py").is_file():
        sys.exit(f"error: DETECTRON2: {folder} holds no detectron2/__init__.py")
    if not given:
        fetch(folder)
    pip("--require-hashes", "--requirement", str(LOCK))
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(VENV)}))
    (packages / "detectron2.pth").write_text(f"{folder}\n")
    if os.environ.get("COMPILE") == "1":
        pip("--no-build-isolation", "--no-deps", str(folder))  # a copy of it all, which comes before the sources
    run(PYTHON, "-c", "import detectron2; print('Detectron2', detectron2.__version__, 'in', *detectron2.__path__)")


def fetch(folder: Path) -> None:
    """The one commit, without its history."""
    git = ("git", "-C", str(folder))
    if folder.is_dir() and subprocess.run([*git, "cat-file", "-e", COMMIT], check=False).returncode == 0:
        return
    folder.mkdir(exist_ok=True)
    run(*git, "init", "--quiet")
    run(*git, "fetch", "--quiet", "--depth", "1", SOURCE, COMMIT)
    run(*git, "checkout", "--quiet", COMMIT)


if __name__ == "__main__":
    main()
