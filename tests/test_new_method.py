"""Adding a method as README and CONTRIBUTING promise it: one file, one slice, one line; no other run is touched."""

from drivers import snakemake_steps

METHOD = '''"""Half of PKD: an example."""

from detdistill.distill.base import Weight
from detdistill.distill.cnn.neck import pkd


class Halved(pkd.PKD):
    """Its weight counts half."""

    def __init__(self, student, teacher, *, weight: Weight):
        super().__init__(student, teacher, weight=weight / 2)
'''
SLICE = "params/smoke/faster_rcnn/halved.yaml"
LAST = "  - {pair: faster_rcnn, recipe: pkd_chen}\n"


def test_one_file_one_slice_and_one_line_add_a_recipe_and_change_no_other(clone):
    made = clone("extended")
    before = snakemake_steps(made.root, "smoke")
    (made.root / "src/detdistill/distill/cnn/neck/halved.py").write_text(METHOD)
    (made.root / SLICE).write_text("methods:\n  halved: {weight: 6.0}\n")
    unread = f"note: {SLICE}: study.yaml lists no such recipe, so nothing reads it\n"
    assert made.run("detdistill", "check", "--study", "smoke") == unread
    plan = made.root / "params/smoke/study.yaml"
    plan.write_text(plan.read_text().replace(LAST, f"{LAST}  - {{pair: faster_rcnn, recipe: halved}}\n"))
    made.run("detdistill", "pipeline", "--study", "smoke")
    assert made.run("detdistill", "check", "--study", "smoke") == ""
    after = snakemake_steps(made.root, "smoke")
    assert {command.split()[1] for command in before if before[command] != after[command]} == {"summarize", "report"}
    assert {command.partition(" --study")[0] for command in after.keys() - before.keys()} == {
        "detdistill tune faster_rcnn halved",
        *(f"detdistill {verb} faster_rcnn halved {seed}" for verb in ("distill", "evaluate") for seed in (0, 1)),
    }
    [own] = [step for command, step in after.items() if command.startswith("detdistill tune faster_rcnn halved")]
    assert {"src/detdistill/distill/cnn/neck/halved.py", SLICE} <= own.inputs
    listed = made.run("detdistill", "methods", "--example", "halved")
    assert "halved: {weight: 1.0}" in listed
