"""How numbers are printed: precisions in points (hundredths), two-sided intervals in brackets, a dash for none."""

from detdistill.analysis.effects import Effect
from detdistill.analysis.statistics import Stat
from detdistill.analysis.together import Together

NONE = "–"
MINUS = "−"


def points(value: float | None, signed: bool = False) -> str:
    """A share as points with one decimal: 0.453 -> `45.3`; signed, `+45.3` or `−45.3`."""
    if value is None:
        return NONE
    text = f"{100 * value:{'+' if signed else ''}.1f}"
    # A difference that rounds to zero has no sign.
    text = text.lstrip("+-") if float(text) == 0 else text
    return text.replace("-", MINUS)


def spread(stat: Stat) -> str:
    """`45.3 ± 1.2`, the sample standard deviation; only the mean without a second seed, or where it rounds to zero."""
    if stat["std"] is None or points(stat["std"]) == "0.0":
        return points(stat["mean"])
    return f"{points(stat['mean'])} ± {points(stat['std'])}"


def interval(low: float | None, high: float | None) -> str:
    """`[−0.4, +9.1]`, or a dash where there is none."""
    if low is None or high is None:
        return NONE
    return f"[{points(low, signed=True)}, {points(high, signed=True)}]"


def gain(effect: Effect | Together | None) -> str:
    """`+4.3 [−0.4, +9.1]`; only the difference where the seeds give no interval."""
    if effect is None:
        return NONE
    difference = points(effect["difference"], signed=True)
    return difference if effect["low"] is None else f"{difference} {interval(effect['low'], effect['high'])}"


def probability(p: float | None) -> str:
    """`0.032`, `< 0.001`."""
    return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float | None) -> str:
    """A share as a whole percentage: 0.31 -> `31 %`."""
    return NONE if value is None else f"{round(100 * value)} %".replace("-", MINUS)


def factor(value: float | None) -> str:
    """`1.32×`"""
    return NONE if value is None else f"{value:.2f}×"


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands: 1104210 -> `1 104 210`."""
    return NONE if value is None else f"{value:,.0f}".replace(",", "\u2009")


def short(value: float) -> str:
    """On an axis: `300`, `30k`, `1M`."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def scaled(value: float | None, unit: float, digits: int = 1) -> str:
    """`value` in multiples of `unit`: scaled(412e6, 1e6) -> `412.0`."""
    return NONE if value is None else f"{value / unit:.{digits}f}"


def duration(seconds: float | None) -> str:
    """`7 min 42 s`, `1 h 02 min`, `9 s`."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listing(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`one run`, `3 runs`, `10 classes`; the plural is a final s unless it is given."""
    return f"one {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
