"""`detdistill compare`: two halves of one study agree, a real shift does not, and different studies are refused."""

import shutil
import subprocess
from pathlib import Path

import fake_study
import pytest
import yaml
from typer.testing import CliRunner

from detdistill.analysis import compare
from detdistill.analysis.equal_cost import Spread
from detdistill.analysis.summarize import summarize
from detdistill.cli import app
from detdistill.core import paths
from detdistill.core.errors import UserError
from detdistill.report import comparison

PAIRS = ("retinanet", "faster_rcnn")


@pytest.fixture
def half(tmp_path, monkeypatch):
    """Makes a study in a folder of its own, and gives the folder of its reports."""

    def make(name, seeds, change=lambda: None, **options):
        root = tmp_path / name
        root.mkdir()
        monkeypatch.chdir(root)
        fake_study.make(root, seeds, PAIRS, **options)
        change()
        summarize(fake_study.STUDY)
        return str(root / paths.summary(fake_study.STUDY).parent)

    return make


def told(*reports):
    found = CliRunner().invoke(app, ["compare", *reports])
    return found.exit_code, found.output


def test_the_halves_of_a_study_reproduce_each_other(half):
    code, said = told(half("first", (0, 1, 2)), half("second", (3, 4, 5)))
    assert code == 0, said
    *lines, last = said.splitlines()
    assert len(lines) == 2 + 4 + 3 + 8  # teachers, plain students, recipes of each pair
    assert last.startswith("reproduced: all")


def test_a_shift_of_one_recipe_is_found_and_named(half):
    shift = {("faster_rcnn", "pkd"): -0.05}
    code, said = told(half("first", (0, 1, 2)), half("second", (3, 4, 5), shift=shift))
    assert code == 1
    assert said.splitlines()[-1].endswith("differ or are missing: pkd of faster_rcnn")
    assert [line.split()[:2] for line in said.splitlines()[:-1] if "NO" in line] == [["faster_rcnn", "pkd"]]


def test_a_missing_recipe_is_not_reproduced(half):
    def lose():
        for seed in (3, 4, 5):
            fake_study.remove(Path(), "retinanet", "crosskd", seed)

    code, said = told(half("first", (0, 1, 2)), half("second", (3, 4, 5), lose))
    assert code == 1
    assert "crosskd of retinanet" in said.splitlines()[-1]


def test_one_seed_against_three_is_judged_by_the_three(half):
    code, said = told(half("first", (0, 1, 2)), half("second", (3,)))
    assert code == 0, said


def test_two_studies_of_one_seed_cannot_be_judged(half):
    first, second = compare.read(half("first", (0,))), compare.read(half("second", (1,)))
    with pytest.raises(UserError, match="no spread"):
        compare.compare(first, second)
    assert all(line.agrees for line in compare.compare(first, first))


def test_studies_of_other_parameters_are_refused_with_the_slices_that_differ(half):
    def change():
        path = paths.params("fake", "retinanet", "pkd")
        path.write_text(path.read_text().replace("10.0", "11.0"))

    first, second = (compare.read(half(name, (0, 1), how)) for name, how in (("a", lambda: None), ("b", change)))
    with pytest.raises(UserError, match="retinanet/pkd differ"):
        compare.compare(first, second)


def test_a_tuning_that_took_another_weight_is_told(half):
    first, second = compare.read(half("first", (0, 1))), compare.read(half("second", (0, 1)))
    second["pairs"]["retinanet"]["recipes"]["pkd"]["tuned"]["factor"] = 64.0
    lines = {(line.pair, line.recipe): line for line in compare.compare(first, second)}
    assert str(lines["retinanet", "pkd"]).endswith("and 64 times its unit)")
    assert [line.recipe for line in lines.values() if line.tuned] == ["pkd"]


def test_the_page_says_what_the_lines_say_in_both_forms(half, tmp_path):
    first, second = half("first", (0, 1)), half("second", (2, 3), shift={("faster_rcnn", "pkd"): -0.05})
    pages = [tmp_path / f"page.{form}" for form in ("html", "pdf")]
    for page in pages:
        found = CliRunner().invoke(app, ["compare", first, second, "--page", str(page)])
        assert found.exit_code == 1, found.output
    last = found.output.splitlines()[-1]
    html, pdf = pages[0].read_text(), pages[1].read_bytes()
    assert f"{last[0].upper()}{last[1:]}." in html
    assert html.count("differs</td>") == found.output.count(": NO") > 0
    assert html.count("agrees</td>") == found.output.count(": yes")
    assert "https://" not in html.replace("http://www.w3.org", "")
    assert pdf.startswith(b"%PDF")
    CliRunner().invoke(app, ["compare", first, second, "--page", str(pages[1])])
    assert pages[1].read_bytes() == pdf


def test_a_page_of_another_kind_is_refused_before_any_work(tmp_path):
    with pytest.raises(UserError, match=r"page\.docx: a page ends in \.pdf or \.html"):
        comparison.checked(tmp_path / "page.docx")


def test_a_missing_recipe_is_missing_on_the_page(half, tmp_path):
    def lose():
        for seed in (2, 3):
            fake_study.remove(Path(), "retinanet", "crosskd", seed)

    page = tmp_path / "page.html"
    told(half("first", (0, 1)), half("second", (2, 3), lose), "--page", str(page))
    assert page.read_text().count("missing</td>") == 2  # AP50 and AP


def test_comments_and_the_title_are_no_difference(half):
    def change():
        path = paths.params("fake", "study")
        path.write_text("# of mine\n" + yaml.safe_dump(yaml.safe_load(path.read_text()) | {"title": "Another"}))

    first, second = (compare.read(half(name, (0, 1), how)) for name, how in (("a", lambda: None), ("b", change)))
    assert all(line.agrees for line in compare.compare(first, second))


def test_with_one_report_the_committed_one_is_the_other(half):
    half("mine", (0, 1, 2))

    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    git("add", "reports/fake/summary.json")
    git("commit", "--quiet", "--message", "results")
    assert told("fake")[0] == 0
    shutil.rmtree("runs")
    with pytest.raises(UserError, match="fake: this is the committed report itself; no run of the study lies here"):
        CliRunner().invoke(app, ["compare", "fake"], catch_exceptions=False)
    git("rm", "--quiet", "--cached", "reports/fake/summary.json")
    git("commit", "--quiet", "--message", "gone")
    with pytest.raises(UserError, match="name the report to compare with"):
        compare.committed("fake")


def test_a_report_of_an_older_version_is_named(tmp_path):
    (tmp_path / "summary.json").write_text('{"study": "fake", "pairs": {}}')
    with pytest.raises(UserError, match=r"summary\.json: data, params.*missing"):
        compare.read(str(tmp_path))


def test_the_summary_that_was_read_is_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths.summary("old").parent.mkdir(parents=True)
    paths.summary("old").write_text('{"study": "old"}')
    with pytest.raises(UserError, match=r"^reports/old/summary\.json: data"):
        compare.read("old")


def test_what_chance_allows_by_hand():
    one, other = {"AP50": {"n": 3, "mean": 0.5}}, {"AP50": {"n": 2, "mean": 0.4}}
    found = compare._figure("AP50", one, other, Spread(0.02, 10), 0.05)
    assert found.allowed == pytest.approx(2.228139 * 0.02 * (1 / 3 + 1 / 2) ** 0.5)
