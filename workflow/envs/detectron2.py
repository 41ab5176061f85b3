"""Put Detectron2 into `.venv`: the sources of one tested commit, and what they import. Needs `make environment` first.

DETECTRON2=/folder takes sources that lie there instead. COMPILE=1 builds the extension too, in some minutes; without
it torchvision's operators are used, which is enough for the detectors of this project.
"""

import os
import re
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
    run(PYTHON, "-m", "pip", "uninstall", "--yes", "--quiet", "--quiet", "detectron2")
    suffix = f"+{commit(folder)}"
    if os.environ.get("COMPILE") == "1":
        os.environ["D2_VERSION_SUFFIX"] = suffix  # its setup.py appends this to the version
        pip("--no-build-isolation", "--no-deps", str(folder))  # a copy of it all, which comes before the sources
    else:
        register(folder, suffix)
    run(PYTHON, "-c", "import detectron2; print('Detectron2', detectron2.__version__, 'in', *detectron2.__path__)")


def commit(folder: Path) -> str:
    """What its version ends in: the commit that is checked out there, `local` where the folder is no checkout."""
    asked = ["git", "-C", str(folder), "rev-parse", "--show-toplevel", "--short=12", "HEAD"]
    said = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.splitlines()
    return f"g{said[1]}" if said[:1] == [str(folder)] else "local"  # a checkout of something else may lie about it


def register(folder: Path, suffix: str) -> None:
    """Put the sources on the path, as a package that pip lists and removes and whose version names the commit."""
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV)}))  # Debian's own scheme is another
    [version] = re.findall(r'^__version__ = "(.+)"', (folder / "detectron2" / "__init__.py").read_text(), re.MULTILINE)
    about = packages / f"detectron2-{version}{suffix}.dist-info"
    about.mkdir()
    files = {
        packages / "detectron2.pth": f"{folder}\n",
        about / "METADATA": f"Metadata-Version: 2.1\nName: detectron2\nVersion: {version}{suffix}\n",
        about / "RECORD": f"detectron2.pth,,\n{about.name}/METADATA,,\n{about.name}/RECORD,,\n",
    }
    for file, content in files.items():
        file.write_text(content)


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
