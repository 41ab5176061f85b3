"""Better or merely faster: AP50 against the schedule, of plain students and of the recipes that have several."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from detdistill.analysis.summary import PairSummary, RecipeStats, Summary, distilled
from detdistill.report.figures.style import FULL_WIDTH, PLAIN, TEACHER, colour, light_grid
from detdistill.report.names import Names


def draw(summary: Summary, names: Names) -> Figure:
    """A panel a pair: a line joins the schedules of one recipe, a dot is one of its seeds; the teacher is a level."""
    pairs = summary["pairs"]
    figure = Figure(figsize=(FULL_WIDTH, 2.3), layout="constrained")
    for axes, (pair, content) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True):
        _panel(axes, pair, content, names)
        axes.set_title(names.pair(pair), fontweight="bold")
    figure.axes[0].set_ylabel("Test AP50 (%)")
    return figure


def _panel(axes: Axes, pair: str, content: PairSummary, names: Names) -> None:
    recipes = content["recipes"]
    if (teacher := content["teacher"]["AP50"]["mean"]) is not None:
        axes.axhline(100 * teacher, color=TEACHER, linewidth=0.8, linestyle=(0, (1, 2)), label="Teacher")
    if plain := [recipes[name] for name in content["plain"]]:
        _line(axes, plain, PLAIN, names.recipe(pair, content["plain"][0]))
    for name, stats in distilled(content).items():
        longer = [each for each in recipes.values() if each["like"] == name]
        if longer:
            _line(axes, [stats, *longer], colour(stats["levels"]), names.recipe(pair, name))
    factors = sorted({stats["schedule_factor"] for stats in recipes.values()})
    axes.set(xscale="log", xlabel="Schedule")
    axes.xaxis.set_major_locator(FixedLocator(factors))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda factor, _: f"{factor:g}×"))
    axes.margins(x=0.15, y=0.1)
    light_grid(axes, "y")
    axes.legend(loc="lower right", fontsize=6.5, handlelength=1.6)


def _line(axes: Axes, recipes: list[RecipeStats], hue: str, label: str) -> None:
    known = [each for each in recipes if each["AP50"]["n"]]
    known.sort(key=lambda each: each["schedule_factor"])
    for each in known:
        seeds = [100 * value for value in each["AP50"]["values"].values()]
        axes.plot([each["schedule_factor"]] * len(seeds), seeds, ".", ms=2.5, color=hue)
    means = [100 * (each["AP50"]["mean"] or 0.0) for each in known]
    axes.plot([each["schedule_factor"] for each in known], means, "o-", color=hue, ms=4, mec="white", label=label)
