"""The documentation's site: built whole, without a dead link."""

import sys

import pytest
from conftest import ROOT

pytest.importorskip("mkdocs", reason="the tools of the extra `docs` are not installed; `make docs` installs them")


def test_it_has_every_method_every_command_and_no_dead_link(clone):
    made = clone("documented")
    (made.root / "reports/digits").mkdir(parents=True)
    for report in [*(ROOT / "reports").glob("*.pdf"), *(ROOT / "reports/digits").glob("*.svg")]:
        (made.root / report.relative_to(ROOT)).touch()
    made.run(sys.executable, "-m", "mkdocs", "build", "--strict")
    methods = (made.root / "site/methods/index.html").read_text()
    for name in made.run("detdistill", "methods", "--json").split('"name": "')[1:]:
        assert f'id="{name.partition(chr(34))[0]}"' in methods
    commands = (made.root / "site/commands/index.html").read_text()
    assert all(f"detdistill {verb}" in commands for verb in ("init", "distill", "verify", "study new"))
