"""Mean, spread, intervals and verdicts over seeds, against values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detdistill.report import statistics
from detdistill.report.statistics import gap_closed, paired, ratio, seeds_better, stat, t_quantile, verdict

shares = st.floats(0, 1, allow_nan=False)
runs = st.dictionaries(st.integers(0, 9).map(str), shares, min_size=1)


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (30, 2.045)])
def test_quantiles_are_those_of_the_printed_tables(n, quantile):
    assert t_quantile(n) == pytest.approx(quantile, abs=5e-4)


def test_three_seeds_by_hand():
    # mean 0.4, deviations -0.1, 0, 0.1: s = sqrt(0.02 / 2) = 0.1, half width 4.303 * 0.1 / sqrt(3) = 0.2484
    found = stat({"0": 0.3, "1": 0.4, "2": 0.5})
    assert (found["n"], found["mean"]) == (3, pytest.approx(0.4))
    assert found["std"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == (pytest.approx(0.1516, abs=1e-4), pytest.approx(0.6484, abs=1e-4))


def test_two_seeds_by_hand():
    # s = 0.02 / sqrt(2), half width 12.706 * s / sqrt(2) = 12.706 * 0.01
    found = stat({"0": 0.44, "1": 0.46})
    assert found["high"] == pytest.approx(0.45 + 0.12706, abs=1e-5)


def test_one_seed_has_no_spread_and_no_verdict():
    found = stat({"3": 0.5})
    assert found == {"n": 1, "mean": 0.5, "std": None, "low": None, "high": None, "values": {"3": 0.5}}
    assert verdict(found) == "inconclusive"


def test_no_seed_has_no_mean():
    assert stat({"0": None}) == {"n": 0, "mean": None, "std": None, "low": None, "high": None, "values": {}}


@given(runs, st.randoms())
def test_the_order_of_seeds_changes_nothing(values, random):
    seeds = list(values)
    random.shuffle(seeds)
    assert stat({seed: values[seed] for seed in seeds}) == stat(values)


@given(runs, st.floats(-0.5, 0.5))
def test_a_shift_of_every_seed_shifts_the_interval(values, shift):
    before, after = stat(values), stat({seed: value + shift for seed, value in values.items()})
    assert after["mean"] == pytest.approx(before["mean"] + shift)
    if before["low"] is not None:
        assert after["low"] == pytest.approx(before["low"] + shift, abs=1e-9)


@given(runs)
def test_the_interval_holds_the_mean(values):
    found = stat(values)
    if found["low"] is not None:
        assert found["low"] <= found["mean"] <= found["high"]


@given(runs)
def test_a_run_gains_nothing_over_itself(values):
    gain = paired(values, values)
    assert set(gain["values"].values()) == {0.0}
    assert verdict(gain) == "inconclusive"
    assert seeds_better(gain) == 0


def test_pairing_uses_only_seeds_that_both_have():
    assert paired({"0": 0.5, "1": 0.6}, {"1": 0.5, "2": 0.1})["values"] == {"1": pytest.approx(0.1)}


def test_pairing_removes_what_seeds_share():
    # Far apart between seeds, but always 0.02 better: unpaired, no one could tell.
    gain = paired({"0": 0.22, "1": 0.52, "2": 0.82}, {"0": 0.2, "1": 0.5, "2": 0.8})
    assert verdict(gain) == "helps"
    assert seeds_better(gain) == 3


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.2, "helps"), (-0.2, -0.01, "hurts"), (-0.01, 0.2, "inconclusive"), (0.0, 0.2, "inconclusive")],
)
def test_only_an_interval_without_zero_decides(low, high, said):
    gain = statistics.Stat(n=2, mean=(low + high) / 2, std=0.1, low=low, high=high, values={})
    assert verdict(gain) == said


def test_the_share_of_the_gap_by_hand():
    # (0.50 - 0.45) / (0.70 - 0.45) = 0.2
    assert gap_closed({"0": 0.50}, {"0": 0.45}, 0.70)["mean"] == pytest.approx(0.2)


def test_a_baseline_as_good_as_the_teacher_leaves_no_gap():
    closed = gap_closed({"0": 0.8, "1": 0.6}, {"0": 0.7, "1": 0.5}, 0.7)
    assert closed["values"] == {"1": pytest.approx(0.5)}
    assert gap_closed({"0": 0.8}, {"0": 0.7}, None)["n"] == 0


def test_a_ratio_leaves_out_a_baseline_of_zero():
    assert ratio({"0": 3.0, "1": 2.0}, {"0": 2.0, "1": 0.0})["values"] == {"0": 1.5}
