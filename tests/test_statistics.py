"""Means, simultaneous intervals, verdicts and their error rate, against hand-worked values, tables and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detdistill.analysis.dunnett import coverage, quantile
from detdistill.analysis.effects import NEGLIGIBLE, Family, additive, effects, verdicts
from detdistill.analysis.equal_cost import Schedule, at_equal_cost, pooled
from detdistill.analysis.power import half_width, seeds_needed
from detdistill.analysis.statistics import difference, paired, stat
from detdistill.analysis.together import together

shares = st.floats(0, 1, allow_nan=False)
runs = st.dictionaries(st.integers(0, 9).map(str), shares, min_size=1)


def by_seed(*values):
    return {str(seed): value for seed, value in enumerate(values)}


def drawn(generator, groups, seeds, means=None, spread=0.01):
    """A family of plain students and `groups` recipes of normal values."""
    values = generator.normal(0.5, spread, (groups + 1, seeds)) + np.array(means or [0.0] * (groups + 1))[:, None]
    plain, *recipes = [by_seed(*row.tolist()) for row in values]
    return Family(plain, {str(place): recipe for place, recipe in enumerate(recipes)})


def test_three_seeds_by_hand():
    # mean 0.4, deviations -0.1, 0, 0.1: s = sqrt(0.02 / 2) = 0.1
    found = stat(by_seed(0.3, 0.4, 0.5))
    assert (found["n"], found["mean"], found["std"]) == (3, pytest.approx(0.4), pytest.approx(0.1))


def test_one_seed_has_no_spread_and_no_seed_no_mean():
    assert stat({"3": 0.5}) == {"n": 1, "mean": 0.5, "std": None, "values": {"3": 0.5}}
    assert stat({"0": None}) == {"n": 0, "mean": None, "std": None, "values": {}}


@given(runs, st.randoms())
def test_the_order_of_seeds_changes_nothing(values, random):
    seeds = list(values)
    random.shuffle(seeds)
    assert stat({seed: values[seed] for seed in seeds}) == stat(values)


def test_pairing_uses_only_seeds_that_both_have():
    assert paired({"0": 0.5, "1": 0.6}, {"1": 0.5, "2": 0.1})["values"] == {"1": pytest.approx(0.1)}


def test_a_difference_of_means_needs_both():
    assert difference(stat({"0": 3.0, "1": 2.0}), stat({"4": 2.0})) == 0.5
    assert difference(stat({"0": 3.0}), stat({"0": None})) is None


@pytest.mark.parametrize(
    ("recipes", "freedom", "printed"), [(2, 10, 2.57), (3, 8, 2.88), (5, 12, 2.90), (9, 20, 2.95), (4, 60, 2.51)]
)
def test_quantiles_are_those_of_dunnetts_printed_table(recipes, freedom, printed):
    # Dunnett, Biometrics 20, 1964, table II: two-sided, 5 %.
    assert quantile(0.95, (4,) * recipes, 4, freedom) == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize("freedom", [1, 2, 4, 30, 300])
def test_one_recipe_alone_is_students_t(freedom):
    expected = stats.t.ppf(0.975, freedom)
    assert quantile(0.95, (3,), 3, freedom) == pytest.approx(expected)
    assert coverage(expected, (3,), 3, freedom) == pytest.approx(0.95, abs=1e-6)


def test_scipys_test_of_unequal_groups_says_the_same():
    generator = np.random.default_rng(2)
    plain, *recipes = [generator.normal(0.5, 0.1, n) for n in (5, 3, 4, 2)]
    recipes[0] += 0.2
    family = Family(by_seed(*plain), {str(place): by_seed(*values) for place, values in enumerate(recipes)})
    theirs = stats.dunnett(*recipes, control=plain, rng=np.random.default_rng(0))
    interval = theirs.confidence_interval(0.95)
    for place, effect in enumerate(effects({"family": family})["family"].values()):
        assert effect["p"] == pytest.approx(theirs.pvalue[place], abs=1e-3)
        assert effect["low"] == pytest.approx(interval.low[place], abs=2e-3)
        assert effect["high"] == pytest.approx(interval.high[place], abs=2e-3)


def test_a_gain_above_the_spread_helps_a_loss_hurts_and_little_is_no_effect():
    family = drawn(np.random.default_rng(0), 3, 5, [0.0, 0.05, -0.05, 0.0], spread=0.003)
    told = effects({"family": family})["family"]
    assert [effect["verdict"] for effect in told.values()] == ["helps", "hurts", "no effect"]
    assert max(abs(told["2"]["low"]), abs(told["2"]["high"])) <= NEGLIGIBLE


def test_a_wide_interval_stays_open():
    family = drawn(np.random.default_rng(0), 2, 3, spread=0.05)
    assert set(verdicts({"family": family})["family"].values()) == {"open"}


def test_what_one_pair_shows_may_not_be_enough_among_many():
    # Its interval excludes zero alone, at 0.05; beside nine pairs of nothing the level is 0.05 / 10.
    one = drawn(np.random.default_rng(0), 2, 3, [0.0, 0.03, 0.0])
    assert effects({"one": one})["one"]["0"]["p"] < 0.05
    assert verdicts({"one": one})["one"]["0"] == "helps"
    nothing = {str(pair): drawn(np.random.default_rng(50), 2, 3, spread=0.02) for pair in range(9)}
    among = effects({"one": one, **nothing})["one"]["0"]
    assert among["low"] > 0
    assert among["verdict"] == "open"


def test_a_pair_that_is_told_in_full_leaves_the_level_to_the_others():
    clear = drawn(np.random.default_rng(3), 1, 3, [0.0, 0.5])
    weak = drawn(np.random.default_rng(0), 2, 3, [0.0, 0.03, 0.0])
    limit, t = weak.limit(0.025), weak.differences["0"] / weak.error("0")
    shrunk = Family(weak.plain, {name: dict(values) for name, values in weak.recipes.items()})
    # Between the two levels: told at 0.05, not at 0.025.
    aim = (weak.limit(0.05) + limit) / 2
    step = (aim - t) * weak.error("0")
    shrunk.recipes["0"].update({seed: value + step for seed, value in weak.recipes["0"].items()})
    open_pair = drawn(np.random.default_rng(5), 2, 3)
    assert verdicts({"a": shrunk, "b": open_pair})["a"]["0"] == "open"
    assert verdicts({"a": shrunk, "b": clear})["a"]["0"] == "helps"


@pytest.mark.parametrize(
    "family",
    [
        Family(by_seed(0.5), {"a": by_seed(0.6)}),
        Family(by_seed(0.1, 0.1, 0.1), {"a": by_seed(0.3, 0.3, 0.3)}),
        Family(by_seed(0.0, 0.0), {"a": by_seed(0.0, 0.0)}),
    ],
)
def test_without_a_spread_there_is_a_difference_and_nothing_else(family):
    told = effects({"family": family})["family"]["a"]
    assert told["difference"] == pytest.approx(family.differences["a"])
    assert (told["low"], told["high"], told["p"], told["verdict"]) == (None, None, None, None)
    assert additive(family) == {}
    assert seeds_needed(family, 0.01) is None


def test_the_verdicts_error_rate_is_what_they_claim():
    """10,000 studies of three pairs in which no recipe does anything."""
    generator = np.random.default_rng(0)
    helps = told = 0
    for _ in range(10_000):
        families = {pair: drawn(generator, recipes, 3) for pair, recipes in enumerate((3, 2, 4))}
        said = {each for of in verdicts(families).values() for each in of.values()}
        helps += "helps" in said
        told += bool({"helps", "hurts"} & said)
    assert helps <= 550
    assert 400 <= told <= 550  # as near to 5 % as Bonferroni across pairs comes, and no more


def test_blocks_remove_what_all_recipes_share_within_a_seed():
    # Far apart between seeds, but always 0.02 better, give or take 0.001.
    family = Family(by_seed(0.2, 0.5, 0.8), {"a": by_seed(0.221, 0.519, 0.82), "b": by_seed(0.2, 0.501, 0.799)})
    assert effects({"f": family})["f"]["a"]["low"] < 0
    found = additive(family)["a"]
    assert found["difference"] == pytest.approx(0.02)
    # The squares of the residuals sum to 10/3 e-6 over 4 degrees, and a difference has 2/3 of that variance.
    assert found["high"] - found["difference"] == pytest.approx(quantile(0.95, (3, 3), 3, 4) * (5e-6 / 9) ** 0.5)


def test_more_seeds_are_needed_for_less_and_they_suffice():
    generator = np.random.default_rng(0)
    family = drawn(generator, 3, 3)
    two, one = seeds_needed(family, 0.02), seeds_needed(family, 0.01)
    assert two < one
    spread = family.spread
    told = [
        effects({"f": drawn(generator, 3, two, [0.0, 0.02, 0.0, 0.0], spread)})["f"]["0"]["low"] > 0 for _ in range(400)
    ]
    assert 0.74 < np.mean(told) < 0.93
    assert half_width(family, 3) == pytest.approx(family.limit() * family.error("0"))


def test_equal_cost_is_read_off_the_plain_line_over_the_logarithm_of_time():
    schedules = [Schedule(100.0, by_seed(0.4, 0.42)), Schedule(400.0, by_seed(0.6, 0.62))]
    ours = by_seed(0.55, 0.57)
    found = at_equal_cost(ours, 200.0, schedules, pooled([ours, *(each.precision for each in schedules)]), 1)
    # Half way in the logarithm: 0.51. Variance 0.0002 over 3 degrees, weights 1/2 + 1/8 + 1/8, t = 3.182.
    assert (found["plain"], found["difference"]) == (pytest.approx(0.51), pytest.approx(0.05))
    assert found["high"] - found["difference"] == pytest.approx(3.182 * (0.0002 * 0.75) ** 0.5, rel=1e-3)
    # Five recipes of a pair share the 5 %: t(3, 99.5 %).
    many = at_equal_cost(ours, 200.0, schedules, pooled([ours, *(each.precision for each in schedules)]), 5)
    assert many["high"] - many["difference"] == pytest.approx(5.841 * (0.0002 * 0.75) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("seconds", "place"), [(99.0, "shorter"), (100.0, "within"), (400.0, "within"), (401.0, "longer")]
)
def test_nothing_is_said_beyond_the_plain_schedules(seconds, place):
    schedules = [Schedule(400.0, by_seed(0.6)), Schedule(100.0, by_seed(0.4))]
    found = at_equal_cost(by_seed(0.7), seconds, schedules, None, 1)
    assert found["place"] == place
    assert (found["difference"] is None) == (place != "within")
    assert at_equal_cost({}, seconds, schedules, None, 1) is None


def test_a_set_of_methods_by_hand_against_the_part_that_validation_chose():
    family = Family(
        by_seed(0.30, 0.31, 0.32),
        {
            "a": by_seed(0.40, 0.41, 0.42),
            "b": by_seed(0.49, 0.50, 0.51),
            "ab": by_seed(0.55, 0.56, 0.57),
            "c": by_seed(0.90, 0.91, 0.92),
        },
    )
    methods = {"a": {"a"}, "b": {"b"}, "ab": {"a", "b"}, "c": {"c"}}
    validation = {"a": stat(by_seed(0.5, 0.6)), "b": stat(by_seed(0.5, 0.5)), "ab": stat({}), "c": stat(by_seed(1.0))}
    # s = 0.01 in each group, 10 degrees; one set, so half = t(10, 97.5 %) s sqrt(1/3 + 1/3)
    half = 2.228139 * 0.01 * (2 / 3) ** 0.5
    found = together(family, methods, validation)
    assert list(found) == ["ab"]
    assert found["ab"]["part"] == "a"  # b is the better one on the test split, which may not choose
    assert found["ab"]["difference"] == pytest.approx(0.15)
    assert (found["ab"]["low"], found["ab"]["high"]) == (pytest.approx(0.15 - half), pytest.approx(0.15 + half))


def test_sets_share_their_error_rate_and_one_seed_gives_a_set_no_interval():
    sets = {"a": {1}, "b": {2}, "ab": {1, 2}, "abc": {1, 2, 3}}
    family = Family(by_seed(0.1, 0.2), {name: by_seed(0.1, 0.2 + 0.01 * len(name)) for name in sets})
    one = {name: stat(by_seed(0.5)) for name in sets}
    found = together(family, sets, one)
    assert list(found) == ["ab", "abc"]
    half = stats.t.ppf(1 - 0.05 / 4, family.freedom) * family.spread
    assert found["ab"]["high"] - found["ab"]["difference"] == pytest.approx(half)
    alone = Family({"0": 0.1}, {name: {"0": 0.2} for name in sets})
    assert together(alone, sets, one)["ab"]["low"] is None
