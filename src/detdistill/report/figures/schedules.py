"""Better or merely faster: AP50 and gain against the schedule, of the pairs that train recipes on several."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from detdistill.analysis.summary import PairSummary, RecipeStats, Summary, ladders
from detdistill.report.figures.style import FULL_WIDTH, INK, PLAIN, TEACHER, colour, legend_below, light_grid
from detdistill.report.names import Names

_HEIGHT = 2.1  # inches of a row of panels
_DODGE = 0.03  # decades of the schedule between two recipes, so that their intervals stand apart


def draw(summary: Summary, names: Names) -> Figure:
    """For each pair a panel of AP50 and one of gains: beside each other for one pair, else one above the other."""
    pairs = {pair: content for pair, content in summary["pairs"].items() if several(content)}
    if not pairs:
        figure = Figure(figsize=(FULL_WIDTH, 0.5))
        figure.text(0.5, 0.5, "no recipe is trained on several schedules", ha="center", va="center")
        return figure
    rows, columns = (1, 2) if len(pairs) == 1 else (2, len(pairs))
    figure = Figure(figsize=(FULL_WIDTH, _HEIGHT * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    above, below = ([panels[0, 0]], [panels[0, 1]]) if rows == 1 else (panels[0], panels[1])
    for reached, gained, (pair, content) in zip(above, below, pairs.items(), strict=True):
        _reached(reached, pair, content, names)
        _gained(gained, content)
        reached.set_title(names.pair(pair), fontweight="bold")
        for axes in (reached, gained):
            _by_schedule(axes, sorted({stats["schedule_factor"] for stats in content["recipes"].values()}))
        legend_below(reached, columns)
    above[0].set_ylabel("Test AP50 (%)")
    below[0].set_ylabel("Gain in AP50 (points)")
    return figure


def several(content: PairSummary) -> bool:
    """Whether a recipe of the pair has results on more than its first schedule."""
    return any(stats["AP50"]["n"] for stats in content["recipes"].values() if stats["like"])


def _reached(axes: Axes, pair: str, content: PairSummary, names: Names) -> None:
    """A line joins the schedules of one recipe, a dot is one of its seeds; the teacher is a level."""
    recipes = content["recipes"]
    if (teacher := content["teacher"]["AP50"]["mean"]) is not None:
        axes.axhline(100 * teacher, color=TEACHER, linewidth=0.8, linestyle=(0, (1, 2)), label="Teacher")
    if plain := [recipes[name] for name in content["plain"]]:
        _line(axes, plain, PLAIN, names.recipe(pair, content["plain"][0]))
    for name, ladder in ladders(content).items():
        _line(axes, ladder, colour(ladder[0]["levels"]), names.recipe(pair, name))


def _line(axes: Axes, recipes: list[RecipeStats], hue: str, label: str) -> None:
    known = sorted((each for each in recipes if each["AP50"]["n"]), key=lambda each: each["schedule_factor"])
    for each in known:
        seeds = [100 * value for value in each["AP50"]["values"].values()]
        axes.plot([each["schedule_factor"]] * len(seeds), seeds, ".", ms=2.5, color=hue)
    means = [100 * (each["AP50"]["mean"] or 0.0) for each in known]
    axes.plot([each["schedule_factor"] for each in known], means, "o-", color=hue, ms=4, mec="white", label=label)


def _gained(axes: Axes, content: PairSummary) -> None:
    """Gains over the plain student of the same schedule, with their simultaneous intervals."""
    axes.axhline(0, color=INK, linewidth=0.7)
    found = list(ladders(content).values())
    for place, ladder in enumerate(found):
        shift = 10 ** (_DODGE * (place - (len(found) - 1) / 2))
        known = [(stats["schedule_factor"] * shift, stats["effect"]) for stats in ladder if stats["effect"]]
        hue = colour(ladder[0]["levels"])
        for x, effect in known:
            if effect["low"] is not None and effect["high"] is not None:
                axes.plot([x, x], [100 * effect["low"], 100 * effect["high"]], color=hue, linewidth=1.0)
        axes.plot(
            [x for x, _ in known],
            [100 * effect["difference"] for _, effect in known],
            "o-",
            color=hue,
            mec="white",
            ms=4,
        )


def _by_schedule(axes: Axes, factors: list[float]) -> None:
    axes.set(xscale="log", xlabel="Schedule")
    axes.set_xlim(factors[0] / 1.35, factors[-1] * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(factors))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda factor, _: f"{factor:g}×"))
    axes.margins(y=0.1)
    light_grid(axes, "y")
