"""How pairs, recipes and runs read in tables, figures and sentences."""

from collections import Counter

from detdistill.core import paths
from detdistill.report import taxonomy
from detdistill.report.literature import Literature
from detdistill.report.summary import Summary

_FAMILIES = {
    "faster_rcnn": "Faster R-CNN",
    "retinanet": "RetinaNet",
    "fcos": "FCOS",
    "gfl": "GFL",
    "detr": "DETR",
    "conditional_detr": "Conditional DETR",
    "deformable_detr": "Deformable DETR",
    "dab_detr": "DAB-DETR",
    "rt_detr": "RT-DETR",
}
_PLAIN = {paths.TEACHER: "Teacher", paths.PLAIN: "Plain student", paths.PLAIN_LONG: "Plain, longer"}


class Names:
    """The labels of one study. A recipe is called after its methods, and after its teacher if that is another pair's.

    Two recipes of the same label keep their own names.
    """

    def __init__(self, summary: Summary, literature: Literature) -> None:
        self._labels: dict[tuple[str, str], str] = {}
        for pair, content in summary["pairs"].items():
            by_recipe = {
                recipe: " + ".join(literature.name(method) for method in taxonomy.by_level(stats["method_levels"]))
                + (f" from {self.pair(teacher)}" if (teacher := stats["teacher"]) and teacher != pair else "")
                or recipe
                for recipe, stats in content["recipes"].items()
            }
            uses = Counter(by_recipe.values())
            for recipe, label in by_recipe.items():
                self._labels[pair, recipe] = f"{label} ({recipe})" if uses[label] > 1 else label

    def recipe(self, pair: str, recipe: str) -> str:
        """`Teacher`, `Plain student`, `PKD`, `PKD + Chen et al.`, `PKD from RetinaNet`"""
        return _PLAIN.get(recipe) or self._labels[pair, recipe]

    def pair(self, pair: str) -> str:
        """`Faster R-CNN` for `faster_rcnn`; a family that is not known here keeps its own name."""
        return _FAMILIES.get(pair, pair)
