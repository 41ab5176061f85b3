"""The catalogue tells of the methods and detectors what they themselves say, and its examples are valid slices."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny
import yaml
from typer.testing import CliRunner

from detdistill import catalogue
from detdistill.cli import app
from detdistill.core.errors import UserError
from detdistill.distill import files, find, parse_keywords
from detdistill.distill.base import check_taps


@pytest.mark.parametrize(("engine", "family"), list(tiny.SIZES), ids="-".join)
def test_families_have_the_taps_and_the_background_of_their_detectors(engine: str, family: str) -> None:
    detector = tiny.detector(family, engine=engine)
    assert catalogue.FAMILIES[tiny.SIZES[engine, family].get("family", family)] == (detector.taps, detector.background)


@pytest.mark.parametrize("name", files())
class TestEveryMethod:
    def test_its_examples_are_slices_that_its_class_takes(self, name: str) -> None:
        text = catalogue.example(name)
        assert text.isascii()
        assert all(len(line) <= 120 for line in text.splitlines())
        commented = [line.removeprefix("# ") for line in text.splitlines() if line.startswith(f"#   {name}: ")]
        for slice_ in (text, *(f"methods:\n{line}" for line in commented)):
            (keywords,) = yaml.safe_load(slice_)["methods"].values()
            assert parse_keywords(find(name, "recipe.yaml"), keywords, "recipe.yaml")
        assert len(commented) == max(len(catalogue.known()[name].published) - 1, 0)

    def test_it_fits_those_whose_taps_it_needs(self, name: str) -> None:
        entry, method = catalogue.entry(name), find(name, "recipe.yaml")
        assert entry.level == files()[name].parent.name
        assert entry.fits
        for family in catalogue.FAMILIES.keys() - {"fcos"}:  # Detectron2's alone
            own = tiny.detector(family)
            try:
                check_taps(name, method, own, own, "recipe.yaml")
                fits = True
            except UserError:
                fits = False
            assert (family in entry.fits) == fits
        assert ("fcos" in entry.fits) == ("retinanet" in entry.fits)

    def test_its_paper_and_its_summary_are_told(self, name: str) -> None:
        entry = catalogue.entry(name)
        assert entry.summary.endswith(".")
        assert entry.paper
        assert entry.parameters >= 0


def test_people_get_a_table() -> None:
    done = CliRunner().invoke(app, ["methods"])
    assert done.exit_code == 0
    assert all(re.search(rf"^\s*\S+\s+{name}\s", done.output, re.MULTILINE) for name in files())


def test_every_level_has_two_methods() -> None:
    levels = [entry.level for entry in catalogue.entries()]
    assert {level: levels.count(level) >= 2 for level in levels} == dict.fromkeys(levels, True)
    assert len(set(levels)) == 7


def test_what_is_added_is_counted() -> None:
    assert catalogue.entry("pkd").parameters == 0
    assert catalogue.entry("fitnets").parameters == 512 * 2048 + 2048
    assert catalogue.entry("vkd").parameters == 4 * 256 * 256


def test_programs_read_all_of_it() -> None:
    read = json.loads(catalogue.as_json())
    assert [each["name"] for each in read] == list(files())
    assert len(catalogue.rows()) == len(read) + 1


def test_the_page_of_the_documentation_is_what_the_code_says() -> None:
    assert Path("docs/methods.md").read_text() == catalogue.as_markdown() + "\n"


def test_the_readme_names_every_method_at_its_level() -> None:
    text = Path("README.md").read_text()
    levels: dict[str, list[str]] = {}
    for entry in catalogue.entries():
        levels.setdefault(entry.level.replace("rpn_roi", "RPN/RoI"), []).append(f"`{entry.name}`")
    for level, names in levels.items():
        assert f"| {level} | {', '.join(names)} |" in text


def test_notes_are_of_methods_that_exist() -> None:
    assert set(yaml.safe_load(catalogue.FILE.read_text())) <= set(files())


def test_an_unknown_method() -> None:
    with pytest.raises(UserError, match="no method 'pdk'; did you mean 'pkd'"):
        catalogue.example("pdk")


def test_weights_that_are_called_published_are_the_catalogue_s() -> None:
    said = [file for file in Path("params").rglob("*.yaml") if "}   # as published" in file.read_text(encoding="utf-8")]
    assert len(said) > 5
    for file in said:
        for method, given in yaml.safe_load(file.read_text(encoding="utf-8"))["methods"].items():
            published = [each.weights for each in catalogue.known()[method].published]
            assert given in published, f"{file}: {method}"
