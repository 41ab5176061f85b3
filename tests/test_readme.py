"""The figures of README are those of the committed reports."""

import json
import re
from collections.abc import Iterator
from typing import Any

from conftest import ROOT

from detdistill.report import literature
from detdistill.report.names import Names

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
GAIN = re.compile(r"([+-]\d+\.\d)\s\[([+-]\d+\.\d),\s([+-]\d+\.\d)\]")


def _gains(content: Any) -> Iterator[tuple[str, ...]]:
    """All differences with intervals, wherever they stand in a report's numbers, as points."""
    if isinstance(content, dict):
        values = [value for name in ("difference", "low", "high") if (value := content.get(name)) is not None]
        if len(values) == 3:
            yield tuple(f"{100 * value:+.1f}" for value in values)
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from _gains(each)


def test_every_gain_with_an_interval_is_one_of_a_committed_report():
    files = [*ROOT.glob("reports/*/summary.json"), *ROOT.glob("reports/*/cost.json")]
    known = {gain for file in files for gain in _gains(json.loads(file.read_text()))}
    printed = GAIN.findall(TEXT)
    assert len(printed) > 20
    assert not set(printed) - known


def test_the_table_is_the_summary_of_digits():
    summary = json.loads((ROOT / "reports/digits/summary.json").read_text())
    pairs, names = summary["pairs"], Names(summary, literature.load())
    by_name = {names.pair(pair): pair for pair in pairs}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.count("|") == 7]
    seen: set[tuple[str, str]] = set()
    pair = ""
    for named, _, recipe, reached, gain, verdict in rows[2:]:
        pair = by_name.get(named, pair)
        stats = pairs[pair]["teacher"] if recipe == "teacher" else pairs[pair]["recipes"][recipe]
        mean, std = stats["AP50"]["mean"], stats["AP50"]["std"]
        assert reached == (f"{100 * mean:.1f}" if std is None else f"{100 * mean:.1f} ± {100 * std:.1f}")
        if effect := stats.get("effect"):
            assert GAIN.findall(gain) == [*_gains(effect)]
            assert verdict == effect["verdict"]
        seen.add((pair, recipe))
    assert seen == {(pair, recipe) for pair, content in pairs.items() for recipe in ["teacher", *content["recipes"]]}
