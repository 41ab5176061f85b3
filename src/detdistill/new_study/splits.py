"""Which of several files or folders is which split: by the names that people give them."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from detdistill.core.errors import UserError, near
from detdistill.data.reading import SPLITS, SplitName
from detdistill.data.tree import words

ALIASES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
Named = Mapping[SplitName, str]


def choose(named: Named, candidates: Iterable[str], what: str, place: Path) -> dict[SplitName, str]:
    """The named splits, and for each other one the candidate that its name tells, if there is just one.

    A single candidate is `train`, whatever its name. Without one for testing, `val` tests. What is missing then is to
    be held out of `train`.

    Args:
        what: what the candidates are, for errors.

    Raises:
        UserError: a named one that is no candidate or is named twice, several that could be one split, none for train.
    """
    known = list(candidates)
    for split, name in named.items():
        if name not in known:
            raise UserError(f"--{split}: no {what} {name!r} in {place}{near(name, known)}")
        if twice := [other for other in named if other != split and named[other] == name]:
            raise UserError(f"--{split} and --{twice[0]} both say {name!r}; an image cannot be in two splits")
    chosen = dict(named)
    free = [name for name in known if name not in named.values()]
    if len(known) == 1:
        for split in named:
            if split != "train":
                raise UserError(
                    f"--{split}: {known[0]!r} is the only {what} in {place}, and none is left to train with"
                )
        return {"train": known[0]}
    for split in SPLITS:
        found = next((names for alias in ALIASES[split] if (names := called(alias, free))), [])
        if split in chosen or not found:
            continue
        if len(found) > 1:
            raise UserError(f"{place}: several could be {split}: {', '.join(found)}; say --{split}")
        chosen[split] = found[0]
    others = [name for name in free if name not in chosen.values()]
    if "train" not in chosen and len(others) == 1:
        chosen["train"] = others[0]
    if "train" not in chosen:
        raise UserError(f"{place}: which {what} is for training? {', '.join(known)}; say --train")
    if "test" not in chosen and "val" in chosen and "val" not in named:
        chosen["test"] = chosen.pop("val")
    return {split: chosen[split] for split in SPLITS if split in chosen}


def nameless(candidates: Iterable[str]) -> bool:
    """None is called like a split."""
    names = list(candidates)
    return not any(called(alias, names) for aliases in ALIASES.values() for alias in aliases)


def left(candidates: Iterable[str], chosen: Collection[str]) -> list[str]:
    """The candidates that became no split."""
    return [name for name in candidates if name not in chosen]


def called(alias: str, names: list[str]) -> list[str]:
    """The paths whose last part is called just so, or else those that have it as a word."""
    exact = [name for name in names if Path(name).name.lower() == alias]
    return exact or [name for name in names if alias in words(name)]
