"""The sentences on results, chosen and filled by the numbers: they say as plainly when nothing was gained."""

from detdistill.analysis.choice import best_recipe
from detdistill.analysis.cost import Cost, RecipeCost
from detdistill.analysis.summary import PairSummary, Summary, baseline, by_level, distilled
from detdistill.dataset.manifest import Manifest
from detdistill.distill import taxonomy
from detdistill.report import numbers, verdicts
from detdistill.report.names import Names


def abstract(summary: Summary, cost: Cost, names: Names, manifest: Manifest) -> str:
    """What was asked, what each pair found, what follows from it, and what it does not show."""
    classes = numbers.counted(len(manifest.classes), "class", "classes")
    images = f"{classes}, {numbers.count(manifest.splits['test'].images)} test images"
    return " ".join([asked(summary, f"“{summary['title']}” ({images})"), answered(summary, cost, names)])


def asked(summary: Summary, data: str) -> str:
    """The question, and what was trained on the data of that name."""
    recipes = numbers.counted(len(by_level(summary)), "recipe")
    acting = {level for _, _, stats in by_level(summary) for level in stats["levels"]}
    return (
        f"Which part of a detector is worth distilling? We train {recipes} of knowledge distillation, acting on "
        f"{verdicts.spoken(taxonomy.ordered(acting))}, beside plain students of the same schedule, with "
        f"{numbers.counted(len(summary['seeds']), 'seed')} each, on {data}."
    )


def answered(summary: Summary, cost: Cost, names: Names) -> str:
    """What each pair found, what follows from it, and what it does not show."""
    found = [_pair(content, pair, names) for pair, content in summary["pairs"].items()]
    closing = [equal_cost(summary, cost) if verdicts.judged(summary) else "", conclusion(summary), _reach(summary)]
    return " ".join(sentence for sentence in [*found, *closing] if sentence)


def _pair(content: PairSummary, pair: str, names: Names) -> str:
    teacher, plain = content["teacher"]["AP50"], baseline(content)
    if plain is None or plain["AP50"]["mean"] is None or teacher["mean"] is None:
        return f"{names.pair(pair)}: the teacher or the plain student is missing, so no gap can be stated."
    start = (
        f"{names.pair(pair)}: the teacher reaches {numbers.points(teacher['mean'])} AP50, the plain student "
        f"{numbers.spread(plain['AP50'])}"
    )
    return f"{start}; {_chosen(content, pair, names)}"


def _chosen(content: PairSummary, pair: str, names: Names) -> str:
    """The recipe that validation chose, and what the test split says of it."""
    best = best_recipe(content)
    if best is None:
        return "no distilled run has results."
    stats = content["recipes"][best]
    return f"{names.recipe(pair, best)}, chosen on validation, {numbers.spread(stats['AP50'])}: " + (
        f"{numbers.gain(stats['effect'])}." if stats["effect"] else "its plain student is missing."
    )


def conclusion(summary: Summary) -> str:
    """What the verdicts say of the levels: where distillation helps, where it hurts, and how much stays open."""
    if not verdicts.judged(summary):
        why = "One seed shows" if len(summary["seeds"]) == 1 else "What there is shows"
        return f"{why} no spread, so no interval and no verdict is given: the differences are only described."
    tried, helped = verdicts.levels(summary), verdicts.levels(summary, "helps")
    hurt = [level for level in verdicts.levels(summary, "hurts") if level not in helped]
    rest = [level for level in tried if level not in (*helped, *hurt)]
    where = f"at {verdicts.spoken(helped)}" if helped else "at no level"
    if helped == tried and len(tried) > 1:
        where = f"at every level tried: {verdicts.spoken(tried)}"
    said = f"In conclusion, distillation is shown to help {where}"
    if helped and rest:
        said += f"; at {verdicts.spoken(rest)} it is not shown to help"
    if hurt:
        said += f"; at {verdicts.spoken(hurt)} it is shown to hurt"
    return " ".join(each for each in (f"{said}.", _longest(summary), _open(summary)) if each)


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
    of = numbers.counted(len(recipes), "recipe")
    return f"Of {of}, {still} {stays} open: neither an effect nor its absence is shown."


def equal_cost(summary: Summary, cost: Cost) -> str:
    """How many recipes stand above plain training of the same core time, their teacher's share in and out."""
    recipes = [cost["pairs"][pair]["recipes"][name] for pair, name, _ in by_level(summary)]
    alone, within = _ahead(recipes, "alone")
    taught, within_taught = _ahead(recipes, "taught")
    if not within:
        return ""
    said = f"For the same core time, {alone} of {within} recipes stand above plain training by more than their interval"
    return (
        f"{said}; with a share of their teacher's training, {taught} of {within_taught}."
        if within_taught
        else f"{said}."
    )


def _ahead(recipes: list[RecipeCost], kind: str) -> tuple[int, int]:
    """How many are ahead by more than their interval, of how many whose cost lies within the plain schedules."""
    found = [equal for each in recipes if (equal := each[kind]) and equal["low"] is not None]  # type: ignore[literal-required]
    return sum(equal["low"] > 0 for equal in found), len(found)


def _reach(summary: Summary) -> str:
    pairs = (
        "which level is best across pairs, whose family, size and distance to the teacher differ as well, nor "
        if len(summary["pairs"]) > 1
        else ""
    )
    return f"This does not show {pairs}what another data set, scale or schedule would give."


def findings(content: PairSummary, pair: str, names: Names) -> str:
    """A pair's recipes by verdict."""
    told = verdicts.told(content)
    if not told:
        return f"{names.pair(pair)}: no distilled run can be compared."
    parts = [
        f"{verdict}: {numbers.listing([names.recipe(pair, name) for name in recipes])}"
        for verdict, recipes in told.items()
    ]
    return sentence(f"{names.pair(pair)} — {'; '.join(parts)}")


def ladder(content: PairSummary, pair: str, names: Names) -> str:
    """What is left of a gain on a longer schedule; empty for a pair whose recipes have one schedule."""
    told = []
    for name, stats in distilled(content).items():
        first = content["recipes"].get(stats["like"] or "")
        if first and first["effect"] and stats["effect"]:
            factor = stats["schedule_factor"] / first["schedule_factor"]
            told.append(
                f"{names.recipe(pair, stats['like'] or name)} gains {numbers.gain(first['effect'])}, "
                f"with {factor:g} times the steps {numbers.gain(stats['effect'])}"
            )
    return sentence(f"{names.pair(pair)}: {'; '.join(told)}") if told else ""


def together(content: PairSummary, pair: str, names: Names) -> str:
    """Whether sets of methods add to the best of their parts; empty for a pair without sets."""
    told = []
    for name, stats in distilled(content).items():
        if not (found := stats["together"]):
            continue
        part = f"{names.recipe(pair, found['part'])}, its best part on validation"
        if found["low"] is None or found["high"] is None:
            side = "from"
        else:
            side = "above" if found["low"] > 0 else "below" if found["high"] < 0 else "from, and not told apart from,"
        told.append(f"{names.recipe(pair, name)} is {numbers.gain(found)} points {side} {part}")
    return sentence(f"{names.pair(pair)}: {'; '.join(told)}") if told else ""


def sentence(text: str) -> str:
    """With one full stop, also after "et al."."""
    return text if text.endswith(".") else f"{text}."
