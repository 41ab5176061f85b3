"""The program's own options; its verbs are tested where their steps are."""

import re

import pytest

from detdistill import cli


def test_version_names_the_commit_in_a_checkout_and_whether_files_differ_from_it(clone):
    made = clone("versioned")
    assert re.fullmatch(r"detdistill \d+\.\d+\.\d+\n", made.run("detdistill", "--version"))
    made.run("git", "add", ".")
    made.run("git", "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "the project")
    commit = made.run("git", "rev-parse", "HEAD")[:12]
    assert made.run("detdistill", "--version").endswith(f" ({commit})\n")
    (made.root / "Makefile").write_text("")
    assert made.run("detdistill", "--version").endswith(f" ({commit}, changed)\n")


def test_a_shell_completes_verbs(clone):
    made = clone("completed")
    made.environment |= {"_DETDISTILL_COMPLETE": "complete_bash", "COMP_WORDS": "detdistill comp", "COMP_CWORD": "1"}
    assert made.run("python", "-m", "detdistill").split() == ["compare"]
    del made.environment["PYTHONPATH"]  # the environment's own installation is another's: it starts the copy's code
    assert made.run("detdistill").split() == ["compare"]


def test_an_unknown_study_is_one_line_and_exit_code_2(clone):
    said = clone("refused").run("detdistill", "check", "--study", "smok", code=2)
    assert said == "error: params/smok/study.yaml: no study 'smok'; did you mean 'smoke'?\n"


def test_a_detector_larger_than_the_machine_is_one_line_before_any_memory_is_taken(clone):
    made = clone("poor")
    slice_ = made.root / "params/smoke/faster_rcnn/student.yaml"
    changes = {"hidden: 16": "hidden: 16384", "roi_size: 3": "roi_size: 256", "neck_channels: 4": "neck_channels: 64"}
    for old, new in changes.items():
        slice_.write_text(slice_.read_text().replace(old, new))
    said = made.run("detdistill", "check", "--study", "smoke", code=2)
    assert re.fullmatch(r"error: params/smoke/faster_rcnn/student.yaml: detector: needs more memory than .*\n", said)


def test_a_name_that_is_too_long_is_one_line(clone):
    said = clone("long").run("detdistill", "check", f"--study={'x' * 300}", code=2)
    assert "cannot name a study" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(36, "File name too long", "a"), "error: a: File name too long\n"),
        (MemoryError("x"), "error: the memory of this machine, or what a process may have of it, is too little: x\n"),
        (RuntimeError("can't allocate memory"), "is too little: can't allocate memory\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, error, said):
    def refuse(**_):
        raise error

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.endswith(said)
    assert told.count("\n") == 1


def test_sync_refuses_before_it_touches_anything(clone):
    made = clone("unsynced")
    sync = ("detdistill", "sync", "--study", "smoke")
    assert "neither driver has finished it" in made.run(*sync, code=2)
    assert "'smoke': dvc has not finished it" in made.run("detdistill", "sync", "snakemake", "--study", "smoke", code=2)
    record = made.root / "runs/smoke/faster_rcnn/plain/0/timing.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    said = made.run(*sync, code=2)
    assert "damaged: its content does not match its digest" in said
    assert said.endswith("`detdistill verify --study smoke` names all of 1 fault\n")
    file = made.root / "params/smoke/dvc.yaml"
    file.write_text(file.read_text() + "#\n")
    assert "dvc.yaml: not the DAG of the parameters any more" in made.run(*sync, code=2)
    file.unlink()
    assert "`detdistill pipeline --study smoke` makes it" in made.run(*sync, code=2)
