"""The documentation's site: built whole, without a dead link."""

import json
import sys

import pytest
from conftest import ROOT

from detdistill.cli import app

pytest.importorskip("mkdocs", reason="the tools of the extra `docs` are not installed; `make docs` installs them")


def test_it_has_every_method_every_command_and_no_dead_link(clone):
    made = clone("documented")
    for report in [*(ROOT / "reports").glob("*.pdf"), *(ROOT / "reports").glob("*/*.svg")]:
        copy = made.root / report.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    made.run(sys.executable, "-m", "mkdocs", "build", "--strict")
    methods = (made.root / "site/methods/index.html").read_text()
    names = [entry["name"] for entry in json.loads(made.run("detdistill", "methods", "--json"))]
    assert len(names) > 20
    assert all(f'id="{name}"' in methods for name in names)
    commands = (made.root / "site/commands/index.html").read_text()
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(verbs) > 15
    assert all(f"detdistill {verb}" in commands for verb in (*verbs, "study new"))
