"""The sentences of the report, chosen and filled by the numbers: they say as plainly when nothing was gained."""

from detdistill.core import paths
from detdistill.dataset.manifest import Manifest
from detdistill.report import numbers, statistics, taxonomy
from detdistill.report.choice import best_recipe
from detdistill.report.names import Names
from detdistill.report.statistics import Stat
from detdistill.report.summary import PairSummary, Summary, distilled

# A plain student counts as converged when the longer schedule gains less than this share of the gap to its teacher.
FLAT_SHARE = 0.1


def abstract(summary: Summary, names: Names, manifest: Manifest) -> str:
    """What was asked, what each pair found, and how far it can be trusted."""
    levels = [level.label for level in taxonomy.LEVELS if any(level.key in row["levels"] for row in summary["levels"])]
    seeds = len(summary["seeds"])
    test = manifest.splits["test"]
    words = numbers.listing([level if "/" in level else level.lower() for level in levels])
    recipes = numbers.counted(len(summary["levels"]), "recipe")
    classes = numbers.counted(len(manifest.classes), "class", "classes")
    first = (
        f"Which part of a detector is worth distilling? We train {recipes} of knowledge distillation, acting on "
        f"{words}, beside plain students of the same schedule and of a longer one, with "
        f"{numbers.counted(seeds, 'seed')} each, on “{summary['title']}” ({classes}, "
        f"{numbers.count(test.images)} test images)."
    )
    found = [_pair(content, pair, names) for pair, content in summary["pairs"].items()]
    return " ".join([first, *found, _trust(summary)])


def _pair(content: PairSummary, pair: str, names: Names) -> str:
    teacher, plain = content["teacher"], content["recipes"].get(paths.PLAIN)
    if plain is None or plain["AP50"]["mean"] is None or teacher["AP50"]["mean"] is None:
        return f"{names.pair(pair)}: the teacher or the plain student is missing, so no gain can be stated."
    gap = teacher["AP50"]["mean"] - plain["AP50"]["mean"]
    start = (
        f"{names.pair(pair)}: the teacher reaches {numbers.points(teacher['AP50']['mean'])} AP50 and the plain student "
        f"{numbers.spread(plain['AP50'])}, a gap of {numbers.points(gap)} points;"
    )
    return f"{start} {_sentence(verdicts(content, pair, names))} {best(content, pair, names)}"


def verdicts(content: PairSummary, pair: str, names: Names) -> str:
    """Which recipes help, hurt, or leave it open, by their 95 % intervals."""
    told = {name: stats["verdict"] for name, stats in distilled(content).items() if stats["gain_equal_steps"]["n"]}
    named = {
        verdict: [names.recipe(pair, name) for name, each in told.items() if each == verdict]
        for verdict in ("helps", "hurts", "inconclusive")
    }
    if not named["helps"] and not named["hurts"]:
        return "no recipe is shown to help or to hurt, since every interval of a gain at equal steps includes zero"
    parts = [
        f"{numbers.listing(named[verdict])} {verdict if len(named[verdict]) == 1 else verdict[:-1]}"
        for verdict in ("helps", "hurts")
        if named[verdict]
    ]
    if not named["helps"]:
        parts.insert(0, "no recipe is shown to help")
    if named["inconclusive"]:
        parts.append(f"{len(named['inconclusive'])} of {len(told)} stay inconclusive")
    return ", ".join(parts)


def best(content: PairSummary, pair: str, names: Names) -> str:
    """The recipe that validation chose, and what the test split says of it at equal steps and at equal core time."""
    chosen = best_recipe(content)
    if chosen is None:
        return "No distilled run has results."
    stats = content["recipes"][chosen]
    steps, time = stats["gain_equal_steps"], stats["gain_equal_time"]
    sentence = f"Chosen on validation, {names.recipe(pair, chosen)} reaches {numbers.spread(stats['AP50'])}"
    if steps["mean"] is not None:
        sentence += f", {numbers.gain(steps)} at equal steps"
    if time["mean"] is not None:
        sentence += f" and {numbers.gain(time)} against a plain student that trained longer"
        if steps["mean"] is not None and steps["mean"] > 0 >= time["mean"]:
            sentence += ", so on average the longer schedule buys at least as much as the teacher does"
    return sentence + "."


def _trust(summary: Summary) -> str:
    n = len(summary["seeds"])
    if n < 2:
        return "One seed allows no interval, so no verdict is given."
    wide = f"With {n} seeds a 95 % interval reaches {statistics.t_quantile(n):.1f} standard errors to each side:"
    if all(row["verdict"] == "inconclusive" for row in summary["levels"]):
        return f"{wide} no gain at equal steps can be told from chance, which is not proof that there is none."
    return f"{wide} what stays inconclusive is not shown, which is not proof that it is absent."


def findings(content: PairSummary, pair: str, names: Names) -> str:
    """Which recipes gain in every seed, in none, in some; and which stay ahead at equal core time."""
    gains = {
        name: stats["gain_equal_steps"] for name, stats in distilled(content).items() if stats["gain_equal_steps"]["n"]
    }
    if not gains:
        return f"{names.pair(pair)}: no distilled run can be compared."
    better = {name: statistics.seeds_better(gain) for name, gain in gains.items()}
    groups = (
        ("in every seed", [name for name in gains if better[name] == gains[name]["n"]]),
        ("in no seed", [name for name in gains if better[name] == 0]),
        ("in some seeds only", [name for name in gains if 0 < better[name] < gains[name]["n"]]),
    )
    told = "; ".join(f"{_those(each, pair, names)} above it {where}" for where, each in groups if each)
    sentences = [_sentence(f"{names.pair(pair)}: {told.replace('above it', 'above the baseline', 1)}")]
    timed = {name: stats["gain_equal_time"]["mean"] for name, stats in distilled(content).items()}
    ahead = [name for name, mean in timed.items() if mean is not None and mean > 0]
    behind = [name for name, mean in timed.items() if mean is not None and mean <= 0]
    if ahead:
        sentences.append(f"Against the longer plain run, {_those(ahead, pair, names)} still ahead on average.")
    if behind:
        words = numbers.listing([names.recipe(pair, name) for name in behind])
        sentences.append(_sentence(f"The longer plain run is at least as good as {words}"))
    return " ".join([*sentences, *_fairness(content, pair, names)])


def _those(recipes: list[str], pair: str, names: Names) -> str:
    return f"{numbers.listing([names.recipe(pair, name) for name in recipes])} {'is' if len(recipes) == 1 else 'are'}"


def _fairness(content: PairSummary, pair: str, names: Names) -> list[str]:
    """Whether the longer plain run did get the core time of the distilled ones."""
    longer = content["recipes"].get(paths.PLAIN_LONG)
    if longer is None or (given := longer["core_seconds"]["mean"]) is None:
        return []
    dearer = [
        names.recipe(pair, name)
        for name, stats in distilled(content).items()
        if stats["core_seconds"]["mean"] is not None and stats["core_seconds"]["mean"] > given
    ]
    if dearer:
        return [f"It took less core time than {numbers.listing(dearer)}, whose comparison is flattered by that much."]
    return ["That run took at least the core time of every distilled one."]


def flatness(summary: Summary, pair: str, names: Names) -> str:
    """Whether a longer schedule still improves the plain student, and so whether distillation may only be faster."""
    flat = summary["flattened"].get(pair)
    difference = flat["difference"]["mean"] if flat else None
    if flat is None or difference is None:
        return f"{names.pair(pair)}: the plain student was not trained on a longer schedule, so this cannot be told."
    fewer = flat["difference"]["n"] < max(flat["plain_AP50"]["n"], flat["plain_long_AP50"]["n"])
    shared = " over the seeds that both have" if fewer else ""
    start = (
        f"{names.pair(pair)}: with {flat['factor']:g} times the steps the plain student reaches "
        f"{numbers.spread(flat['plain_long_AP50'])} instead of {numbers.spread(flat['plain_AP50'])}, a difference of "
        f"{numbers.gain(flat['difference'])}{shared}."
    )
    teacher, plain = summary["pairs"][pair]["teacher"]["AP50"]["mean"], flat["plain_AP50"]["mean"]
    if teacher is None or plain is None:
        return start
    if teacher <= plain:
        return f"{start} The teacher is not above the plain student, so there is no gap to measure that by."
    gap = teacher - plain
    share = f"{start} On average that is {numbers.points(difference / gap)} % of the gap to the teacher."
    return f"{share} {_flat(flat['difference'], FLAT_SHARE * gap)}"


def _flat(difference: Stat, limit: float) -> str:
    """What a longer schedule's difference says, and whether its interval lies on one side of the limit."""
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    if mean is not None and mean >= limit:
        sure = "Its curve still rises" if low is not None and low >= limit else "So its curve seems to rise still"
        return f"{sure}, and part of a gain at equal steps may be acceleration: read the gain at equal core time."
    if high is not None and high < limit:
        return "Its curve is flat for our purpose: a gain from distillation is not mere acceleration."
    return "So its curve seems flat, but the seeds do not exclude a rise: a gain at equal steps may be acceleration."


def _sentence(text: str) -> str:
    """With one full stop, also after "et al."."""
    return text if text.endswith(".") else f"{text}."
