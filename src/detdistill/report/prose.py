"""The sentences on results, chosen and filled by the numbers: they say as plainly when nothing was gained."""

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.cost import Cost, PairCost
from detdistill.analysis.effects import Verdict
from detdistill.analysis.equal_cost import EqualCost
from detdistill.analysis.errors import KINDS
from detdistill.analysis.statistics import difference
from detdistill.analysis.summary import (
    TERCILES,
    PairSummary,
    Summary,
    baseline,
    by_level,
    distilled,
    ladders,
    recipe_gains,
    schedule_gains,
)
from detdistill.dataset.manifest import Manifest
from detdistill.distill import taxonomy
from detdistill.report import limitations, numbers, verdicts
from detdistill.report.names import Names

TOLD = 0.005
"""The least change of a mistake that is spoken of, in AP50."""


def abstract(summary: Summary, cost: Cost, names: Names, manifest: Manifest) -> str:
    """What was asked, what each pair found, what follows from it, and what it does not show."""
    classes = numbers.counted(len(manifest.classes), "class", "classes")
    images = f"{classes}, {numbers.count(manifest.splits['test'].images)} test images"
    return " ".join([asked(summary, f"“{summary['title']}” ({images})"), answered(summary, cost, names)])


def asked(summary: Summary, data: str) -> str:
    """The question, and what was trained on the data of that name."""
    trained = by_level(summary)
    if not trained:
        return f"What do plain students reach? No recipe of distillation is trained, on {data}."
    longer = {(pair, stats["like"]) for pair, _, stats in trained if stats["like"]}
    recipes = numbers.counted(sum(not stats["like"] for _, _, stats in trained), "recipe")
    also = f", {len(longer)} of them on longer schedules too" if longer else ""
    acting = {level for _, _, stats in trained for level in stats["levels"]}
    return (
        f"Which part of a detector is worth distilling? We train {recipes} of knowledge distillation, acting on "
        f"{verdicts.spoken(taxonomy.ordered(acting))}{also}, beside plain students of the same schedule, with "
        f"{numbers.counted(len(summary['seeds']), 'seed')} each, on {data}."
    )


def answered(summary: Summary, cost: Cost, names: Names) -> str:
    """What each pair found, what follows from it, and what it does not show."""
    found = [_pair(content, pair, names) for pair, content in summary["pairs"].items()]
    closing = [
        _room(summary, names),
        equal_cost(summary, cost) if verdicts.judged(summary) else "",
        conclusion(summary, names),
        _reach(summary),
    ]
    return " ".join(sentence for sentence in [*found, *closing] if sentence)


def _pair(content: PairSummary, pair: str, names: Names) -> str:
    teacher, plain = content["teacher"]["AP50"], baseline(content)
    if plain is None or plain["AP50"]["mean"] is None or teacher["mean"] is None:
        return f"{names.pair(pair)}: the teacher or the plain student is missing, so no gap can be stated."
    start = (
        f"{names.pair(pair)}: the teacher reaches {numbers.points(teacher['mean'])} AP50, the plain student "
        f"{numbers.spread(plain['AP50'])}"
    )
    return " ".join(filter(None, [f"{start}; {_chosen(content, pair, names)}", _longer(content)]))


def _room(summary: Summary, names: Names) -> str:
    """The pairs that cannot show distillation, whose reasons are among the limitations; empty where all can."""
    pairs = limitations.without_room(summary)
    if not pairs or not by_level(summary):
        return ""
    whose = "the teacher is" if len(pairs) == 1 else "the teachers are"
    return (
        f"{numbers.listing([names.pair(pair) for pair in pairs])} cannot show distillation on these data: {whose} not "
        f"{numbers.points(limitations.ROOM)} points above the plain student."
    )


def _longer(content: PairSummary) -> str:
    """What a longer schedule gives without a teacher, and how many recipes give as much; empty without one."""
    gains, found = schedule_gains(content), recipe_gains(content)
    if not gains or not found:
        return ""
    first, gain = next(iter(gains.items()))
    above = sum(each > gain for each in found)
    times = numbers.listing([f"{factor:g}" for factor in gains])
    told = numbers.listing([numbers.points(each, signed=True) for each in gains.values()])
    which = f"{first:g} times" if len(gains) > 1 else "that"
    return (
        f"Without a teacher {times} times the steps give {told}; "
        f"{above or 'none'} of {numbers.counted(len(found), 'recipe')} {'gain' if above > 1 else 'gains'} more than "
        f"{which}."
    )


def _chosen(content: PairSummary, pair: str, names: Names) -> str:
    """The recipe that validation chose, and what the test split says of it."""
    best = best_recipe(content)
    if best is None:
        return "no distilled run has results."
    stats = content["recipes"][best]
    return f"{names.recipe(pair, best)}, chosen on validation, {numbers.spread(stats['AP50'])}: " + (
        f"{numbers.gain(stats['effect'])}." if stats["effect"] else "its plain student is missing."
    )


def conclusion(summary: Summary, names: Names) -> str:
    """What the verdicts say of the levels: where distillation helps, where it hurts, and how much stays open."""
    if not by_level(summary):
        return ""
    if not verdicts.judged(summary):
        why = "One seed shows" if len(summary["seeds"]) == 1 else "What there is shows"
        return f"{why} no spread, so no interval and no verdict is given: the differences are only described."
    tried = verdicts.levels(summary)
    helped, hurt = verdicts.levels(summary, "helps"), verdicts.levels(summary, "hurts")
    rest = [level for level in tried if level not in (*helped, *hurt)]
    where = f"at {_of_pairs(summary, 'helps', names)}" if helped else "at no level"
    if helped == tried and len(tried) > 1:
        where = f"at every level tried: {_of_pairs(summary, 'helps', names)}"
    said = f"In conclusion, distillation is shown to help {where}"
    if helped and rest:
        said += f"; at {verdicts.spoken(rest)} it is not shown to help"
    if hurt:
        said += f"; at {_of_pairs(summary, 'hurts', names)} a recipe is shown to hurt"
    for verdict in ("helps", "hurts"):
        if sets := _sets(summary, verdict, names):
            plural = verdict if len(sets) == 1 else verdict.removesuffix("s")
            said += f"; of several levels at once, {numbers.listing(sets)} {plural}"
    return " ".join(each for each in (f"{said}.", _longest(summary), _open(summary)) if each)


def _sets(summary: Summary, verdict: Verdict, names: Names) -> list[str]:
    """The recipes of several levels that have that verdict, each with its pair if the study has several."""
    found = [each for each in by_level(summary) if len(each[2]["levels"]) > 1]
    told = [
        (pair, names.recipe(pair, name)) for pair, name, stats in found if verdicts.word(stats["effect"]) == verdict
    ]
    return [f"{recipe} ({names.pair(pair)})" if len(summary["pairs"]) > 1 else recipe for pair, recipe in told]


def _of_pairs(summary: Summary, verdict: Verdict, names: Names) -> str:
    """The levels that have a recipe of that verdict, each with the pairs where it has if the study has several."""
    levels = verdicts.levels(summary, verdict)
    if len(summary["pairs"]) == 1:
        return verdicts.spoken(levels)
    told = []
    for level in levels:
        pairs = [pair for pair in summary["pairs"] if level in verdicts.levels(summary, verdict, pair=pair)]
        told.append(f"{verdicts.spoken([level])} ({numbers.listing([names.pair(pair) for pair in pairs])})")
    return numbers.listing(told)


def _longest(summary: Summary) -> str:
    """What is still helped on the longest schedule; empty where there is one schedule."""
    factors = {stats["schedule_factor"] for _, _, stats in by_level(summary) if stats["effect"]}
    if len(factors) < 2:
        return ""
    longest = max(factors)
    tried, helped = verdicts.levels(summary, None, longest), verdicts.levels(summary, "helps", longest)
    if not tried:
        return ""
    start = f"On the longest schedule, {longest:g}×, tried at {verdicts.spoken(tried)}, it is"
    if not helped:
        return f"{start} not shown to help{' at any' if len(tried) > 1 else ''}."
    everywhere = "" if len(tried) == 1 else " at each of them"
    return f"{start} shown to help{everywhere if helped == tried else f' at {verdicts.spoken(helped)}'}."


def _open(summary: Summary) -> str:
    recipes = by_level(summary)
    still = sum(1 for _, _, stats in recipes if stats["effect"] and stats["effect"]["verdict"] == "open")
    if not still:
        return ""
    stays = "stays" if still == 1 else "stay"
    return f"Of {_counted(summary, len(recipes))}, {still} {stays} open: neither an effect nor its absence is shown."


def _counted(summary: Summary, number: int) -> str:
    """`one recipe`, `12 recipes`, `53 recipes and longer schedules of them`"""
    longer = " and longer schedules of them" if any(stats["like"] for _, _, stats in by_level(summary)) else ""
    return numbers.counted(number, "recipe") + longer


def equal_cost(summary: Summary, cost: Cost) -> str:
    """How many recipes stand above and below plain training of the same core time, by what they pay for."""
    recipes = [cost["pairs"][pair]["recipes"][name] for pair, name, _ in by_level(summary)]
    alone, taught, single = (
        [equal for each in recipes if (equal := each[kind])]  # type: ignore[literal-required]
        for kind in ("alone", "taught", "single")
    )
    if all(each["low"] is None for each in alone):
        return ""
    (above, below), of = _sides(alone), _counted(summary, len(alone))
    said = f"Against plain training of the same core time: {above} of {of} above, {below} below"
    if taught:
        above, below = _sides(taught)
        said += f"; with a share of their teacher's training, {above} and {below}"
    if single:
        above, below = _sides(single)
        longer = sum(each["place"] == "longer" for each in single)
        sides = "all" if longer == len(single) else f"{above} and {below}" + (f", and {longer}" if longer else "")
        paid = "teacher and tuning" if any(each["tuning"] for each in recipes) else "all of the teacher"
        said += f"; with {paid} paid for by one student, {sides}"
        said += " cost more than the longest plain schedule" if longer else ""
    return f"{said}."


def _sides(found: list[EqualCost]) -> tuple[int | str, int | str]:
    """How many are told above and below."""
    above = sum(each["low"] is not None and each["low"] > 0 for each in found)
    below = sum(each["high"] is not None and each["high"] < 0 for each in found)
    return above or "none", below or "none"


def at_equal_cost(content: PairSummary, cost: PairCost, pair: str, names: Names) -> str:
    """A pair's recipes that are told from plain training of the same core time; empty where none can be compared."""
    sides: dict[str, list[str]] = {"above": [], "below": []}
    compared = 0
    for name in distilled(content):
        equal = cost["recipes"][name]["alone"]
        if not equal or equal["low"] is None or equal["high"] is None:
            continue
        compared += 1
        if side := "above" if equal["low"] > 0 else "below" if equal["high"] < 0 else "":
            sides[side].append(f"{names.recipe(pair, name)} ({numbers.points(equal['difference'], signed=True)})")
    if not compared:
        return ""
    told = [f"{numbers.listing(found)} {side}" for side, found in sides.items() if found]
    left = compared - sum(map(len, sides.values()))
    return f"{names.pair(pair)}: {numbers.listing([*told, f'{left} not told apart'] if left else told)}."


def _reach(summary: Summary) -> str:
    pairs = (
        "which level is best across pairs, whose family, size and distance to the teacher differ as well, nor "
        if len(summary["pairs"]) > 1
        else ""
    )
    return f"This does not show {pairs}what another data set, scale or schedule would give."


def findings(content: PairSummary, pair: str, names: Names) -> str:
    """A pair's recipes by verdict, with their gains."""
    told = verdicts.told(content)
    if not told:
        return f"{names.pair(pair)}: no distilled run can be compared."
    parts = [
        f"{verdict}: {numbers.listing([_gained(content, pair, name, names) for name in recipes])}"
        for verdict, recipes in told.items()
    ]
    return sentence(f"{names.pair(pair)} — {'; '.join(parts)}")


def _gained(content: PairSummary, pair: str, name: str, names: Names) -> str:
    effect = content["recipes"][name]["effect"]
    assert effect is not None
    return f"{names.recipe(pair, name)} ({numbers.points(effect['difference'], signed=True)})"


def ladder(content: PairSummary, pair: str, names: Names) -> str:
    """What is left of a gain on a longer schedule; empty for a pair whose recipes have one schedule."""
    told = []
    for name, (first, *others) in ladders(content).items():
        longer = {
            stats["schedule_factor"] / first["schedule_factor"]: numbers.gain(stats["effect"])
            for stats in others
            if stats["effect"]
        }
        if first["effect"] and longer:
            told.append(
                f"{names.recipe(pair, name)} gains {numbers.gain(first['effect'])}, with "
                f"{numbers.listing([f'{factor:g}' for factor in longer])} times the steps "
                f"{numbers.listing(list(longer.values()))}"
            )
    return sentence(f"{names.pair(pair)}: {'; '.join(told)}") if told else ""


def together(content: PairSummary, pair: str, names: Names) -> str:
    """Whether sets of methods add to the best of their parts; empty for a pair without sets."""
    told = []
    for name, stats in distilled(content).items():
        if not (found := stats["together"]):
            continue
        apart = ""
        if found["low"] is not None and found["high"] is not None and found["low"] <= 0 <= found["high"]:
            apart = ", not told apart"
        part = f"{names.recipe(pair, found['part'])}, its best part on validation"
        told.append(f"{names.recipe(pair, name)} less {part}, is {numbers.gain(found)} points{apart}")
    return sentence(f"{names.pair(pair)}: {'; '.join(told)}") if told else ""


def changed(content: PairSummary, pair: str, names: Names) -> str:
    """Which mistakes the recipe that validation chose makes less or more than plain, and its gain by size of object."""
    best = best_recipe(content)
    plain = content["recipes"][content["recipes"][best]["plain"]] if best else None
    if best is None or plain is None or not plain["AP50"]["n"]:
        return ""
    stats = content["recipes"][best]
    lost = {kind: difference(stats["errors"][kind], plain["errors"][kind]) for kind in KINDS}
    mistakes = [
        f"{numbers.points(each, signed=True)} ({kind})"
        for kind, each in sorted(lost.items(), key=lambda found: -abs(found[1] or 0))
        if each is not None and abs(each) >= TOLD
    ]
    sizes = {size: difference(stats["by_size"][size], plain["by_size"][size]) for size in TERCILES}
    thirds = [f"{numbers.points(each, signed=True)} ({size})" for size, each in sizes.items() if each is not None]
    told = [f"the AP50 lost to mistakes changes by {numbers.listing(mistakes)} points"] if mistakes else []
    told += [f"the gain by thirds of the objects is {numbers.listing(thirds)}"] if thirds else []
    return f"{names.pair(pair)}, {names.recipe(pair, best)} beside plain: {'; '.join(told)}." if told else ""


def sentence(text: str) -> str:
    """With one full stop, also after "et al."."""
    return text if text.endswith(".") else f"{text}."
