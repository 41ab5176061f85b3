"""An engine that is asked for and not installed: one clear line, before any work."""

import subprocess
import sys

CODE = "import sys; sys.modules['detectron2'] = None; from detdistill.cli import main; main()"


def test_it_is_told_with_the_command_that_installs_it() -> None:
    command = [sys.executable, "-c", CODE, "check", "--study", "smoke_detectron2"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "error: params/smoke_detectron2/faster_rcnn/teacher.yaml: engine 'detectron2': detectron2 is not installed; "
        "'make detectron2' installs it"
    ]
