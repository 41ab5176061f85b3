"""How pairs, recipes and runs read in tables, figures and sentences."""

from collections import Counter

from detdistill.analysis.summary import RecipeStats, Summary, baseline
from detdistill.core import paths
from detdistill.distill import taxonomy
from detdistill.report.literature import Literature

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


class Names:
    """The labels of one study. A recipe is called after its methods, after its teacher if that is another pair's, and
    after its schedule if that is longer than the pair's shortest. Two of the same label keep their own names.
    """

    def __init__(self, summary: Summary, literature: Literature) -> None:
        self._labels: dict[tuple[str, str], str] = {}
        self._several = len(summary["pairs"]) > 1
        for pair, content in summary["pairs"].items():
            first = baseline(content)
            usual = first["schedule_factor"] if first else 1.0
            by_recipe = {
                recipe: self._label(pair, recipe, stats, literature) + schedule(stats["schedule_factor"], usual)
                for recipe, stats in content["recipes"].items()
            }
            uses = Counter(by_recipe.values())
            for recipe, label in by_recipe.items():
                self._labels[pair, recipe] = f"{label} ({recipe})" if uses[label] > 1 else label

    def recipe(self, pair: str, recipe: str) -> str:
        """`Teacher`, `Plain student`, `Plain student 2×`, `PKD`, `PKD + Chen et al.`, `PKD from RetinaNet`"""
        return "Teacher" if recipe == paths.TEACHER else self._labels[pair, recipe]

    def across(self, pair: str, recipe: str) -> str:
        """`PKD, RetinaNet` beside recipes of other pairs; `PKD` in a study of one."""
        return f"{self.recipe(pair, recipe)}, {self.pair(pair)}" if self._several else self.recipe(pair, recipe)

    def pair(self, pair: str) -> str:
        """`Faster R-CNN` for `faster_rcnn`; a family that is not known here keeps its own name."""
        return _FAMILIES.get(pair, pair)

    def family(self, pair: str) -> str:
        """`Faster R-CNN` for `faster_rcnn_r50`, too: whose published figures are the nearest."""
        known = [each for each in _FAMILIES if f"{pair}_".startswith(f"{each}_")]
        return _FAMILIES[max(known, key=len)] if known else pair

    def _label(self, pair: str, recipe: str, stats: RecipeStats, literature: Literature) -> str:
        if stats["kind"] == "plain":
            return "Plain student"
        methods = " + ".join(literature.name(method) for method in taxonomy.by_level(stats["method_levels"]))
        teacher = stats["teacher"]
        return methods + (f" from {self.pair(teacher)}" if teacher and teacher != pair else "") or recipe


def schedule(factor: float, usual: float = 1.0) -> str:
    """` 2×`, with a space that does not break, for a schedule other than the usual one."""
    return f"\u00a0{factor:g}×" if factor != usual else ""
