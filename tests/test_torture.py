"""A selection of the torture, as `make torture` runs it in full: nothing silent, no traceback, nothing executed."""

import subprocess
import sys
from pathlib import Path

import pytest
from torture.table import Row

KINDS = ["annotations", "archives", "raw", "slices"]


def test_bad_inputs_are_one_line_each():
    said = subprocess.run(
        [sys.executable, "-m", "torture", "--share", "0.05", "--only", *KINDS],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert [line.split("  ")[0].strip() for line in said.stdout.splitlines()[1:]] == [
        *("bad slices", "bad raw data", "bad annotations", "bad archives")
    ]


@pytest.mark.slow
def test_killed_flipped_and_edited_studies_come_out_right():
    said = subprocess.run(
        [sys.executable, "-m", "torture", "--share", "0.15", "--only", "kills", "edits", "printed", "results"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_row_counts_what_it_is_told():
    row = Row("any", tried=2)
    row.differing({"a": "1", "b": "2"}, {"a": "1", "c": "3"})
    assert row.faults == ["b differs", "c differs"]
