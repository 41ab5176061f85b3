"""Output files are whole or absent, JSON is strict, and errors are one sentence that names the file."""

import errno
import json
import os

import pytest

from detdistill.core.errors import UserError, near
from detdistill.core.files import read_json, sha256, write_atomic, write_json


def test_near_names_the_closest_or_lists_what_is_allowed():
    assert near("pdk", ["pkd", "fgd"]) == "; did you mean 'pkd'?"
    assert near("zzz", ["pkd", "fgd"]) == "; allowed: fgd, pkd"
    assert near(None, []) == "; none is allowed here"


def test_an_error_is_one_line():
    assert str(UserError("first\n  second")) == "first second"


def test_write_makes_the_folder_and_leaves_only_the_file(tmp_path):
    write_atomic(tmp_path / "a" / "b.bin", b"content")
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b.bin"]
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"content"


def test_json_is_sorted_strict_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": None})
    assert (tmp_path / "x.json").read_text() == '{\n "a": null,\n "b": 1\n}\n'
    assert read_json(tmp_path / "x.json") == {"a": None, "b": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_without_a_number_is_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "x.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"new": value})
    assert read_json(tmp_path / "x.json") == {"old": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "not JSON"), ("[1]", "a JSON list, expected an object"), ('{"a": NaN}', "NaN is not a JSON number")],
)
def test_reading_what_is_not_a_json_object(tmp_path, content, said):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        read_json(tmp_path / "x.json")
    assert "x.json" in str(caught.value)


def test_reading_bytes_that_are_not_text(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.json: not JSON"):
        read_json(tmp_path / "x.json")


def test_a_missing_file_is_named(tmp_path):
    for read in (read_json, sha256):
        with pytest.raises(UserError, match=r"gone\.json: no such file"):
            read(tmp_path / "gone.json")


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_full_disk_keeps_the_old_file_and_leaves_no_part(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", {"old": 1})

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match=r"x\.json: the disk is full"):
        write_json(tmp_path / "x.json", {"new": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    assert json.loads((tmp_path / "x.json").read_text()) == {"old": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_disk_that_is_really_full(tmp_path):
    (tmp_path / ".x.json.partial").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"x\.json: the disk is full; nothing was written"):
        write_json(tmp_path / "x.json", {"new": 2})
    assert list(tmp_path.iterdir()) == []
