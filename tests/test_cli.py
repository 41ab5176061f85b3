"""The program's own options; its verbs are tested where their steps are."""

import re


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
