"""The files of a new study, with comments that say where their numbers come from.

Sizes of the detectors and weights of the recipes are those of the embedded study `digits`.
"""

from typing import Any

import yaml

from detdistill.new_study.cost import trial
from detdistill.new_study.statistics import BATCH, SMALL_SET, SMALLEST, Statistics

STUDY = """\
study: {study}
title: {title}
seeds: [0, 1, 2]
# What training begins with: the manifest means the data alone; another pair's model gives backbone and neck.
pairs:
  - pair: faster_rcnn
    engine: torchvision
    teacher_from: data/{study}/manifest.json
    student_from: data/{study}/manifest.json
  - pair: retinanet
    engine: torchvision
    teacher_from: runs/{study}/faster_rcnn/teacher/0/model.safetensors
    student_from: data/{study}/manifest.json
# Students that no teacher helps. A recipe is compared with the one of its schedule.
plain:
  - {{pair: faster_rcnn, recipe: plain}}
  - {{pair: faster_rcnn, recipe: plain_2x}}
  - {{pair: retinanet, recipe: plain}}
  - {{pair: retinanet, recipe: plain_2x}}
# One recipe a level, and PKD on both pairs. Also `teacher`: another pair, whose teacher it is; `like`: a recipe whose
# methods it has, on another schedule.
distilled:
  - {{pair: faster_rcnn, recipe: fitnets}}
  - {{pair: faster_rcnn, recipe: pkd}}
  - {{pair: faster_rcnn, recipe: mimic}}
  - {{pair: retinanet, recipe: pkd}}
  - {{pair: retinanet, recipe: crosskd}}
"""

TUNING = """\
# What every recipe gets to find its weight, on the validation split: a method's unit is where its gradient on the
# student has `share` of the native gradient's norm. Without this file, weights are those of the recipes.
seed: 100               # held out
share: 0.3
factors: [0.25, 1.0, 4.0, 16.0]   # of the unit, and one more where the best lies at an end
schedule_factor: {share}    # of the student's steps
"""

SIDE = """\
detector:
  family: {family}
  widths: {widths}
  blocks: {blocks}
  neck_channels: {neck}
  # Of the training boxes at {size} pixels: two sizes a level, evenly from the 2nd to the 98th percentile, and the
  # median of height over width.
  anchors: {anchors}
  aspect_ratios: [{aspect}]
{head}training:
  steps: {steps}   # {passes:.0f} passes over the {images} training images{hint}
  batch: {batch}
{rate}  evaluations: 4
"""

HINT = """
  # Fewer where the plain student comes near its teacher, and nothing is left to gain; more where it learns nothing."""
MIRROR = """\
  # augment: {flip: 0.5}   # a teacher of few images gains by more of them, where a mirror image still is of its class
"""
RATE = "  lr: 0.003\n"
TRUNK_RATE = """\
  lr: 0.0015       # on a trunk that is trained already ...
  trunk_lr: 0.3    # ... these learn faster than 0.003 for all of it
"""
ONCE = "  ask_teacher: once   # images of one size; what the teacher says of them takes {gib:.1f} GiB of .scratch\n"

# Proposals and samples leave room for the objects of all but one image in twenty.
RCNN = """\
  rpn_batch: 64
  rpn_pre_nms: {pre}
  rpn_post_nms: {post}
  roi_batch: 64
  roi_positives: 0.5
  roi_size: 5
  roi_samples: 1
  roi_canonical: {canonical}   # the side of a box of stride 16: the largest ones use stride 8, all others stride 4
  hidden: {hidden}
"""

DENSE = """\
  candidates: 200
  norm_groups: {groups}
"""

RECIPES = {
    "faster_rcnn/plain": "schedule_factor: 1.0\n",
    "faster_rcnn/plain_2x": "schedule_factor: 2.0\n",
    "faster_rcnn/fitnets": "methods:\n  fitnets: {weight: 1.0, strides: [4, 8, 16]}\n",
    "faster_rcnn/pkd": "methods:\n  pkd: {weight: 1.0}\n",
    "faster_rcnn/mimic": "methods:\n  mimic: {weight: 1.0}\n",
    "retinanet/plain": "schedule_factor: 1.0\n",
    "retinanet/plain_2x": "schedule_factor: 2.0\n",
    "retinanet/pkd": "methods:\n  pkd: {weight: 1.0}\n",
    "retinanet/crosskd": "methods:\n  crosskd: {classes: 1.0, boxes: 1.0}\n",
}


def slices(study: str, title: str, data: dict[str, Any], found: Statistics) -> dict[str, str]:
    """File name below `params/STUDY` -> content. `data` is that of `data.yaml`."""
    files = {
        "study.yaml": STUDY.format(study=study, title=yaml.safe_dump(title, width=1000).removesuffix("...\n").strip()),
        "data.yaml": _data(data, found),
        "tuning.yaml": TUNING.format(share=trial(found.student_steps)),
        **{f"{name}.yaml": content for name, content in RECIPES.items()},
    }
    for family in ("faster_rcnn", "retinanet"):
        files[f"{family}/teacher.yaml"] = _side(family, found, teacher=True)
        files[f"{family}/student.yaml"] = _side(family, found, teacher=False)
    return files


def _data(values: dict[str, Any], found: Statistics) -> str:
    said = {name: value for name, value in values.items() if name != "resize"}
    return (
        yaml.safe_dump(said, sort_keys=False, width=1000)
        + "# The longest side in pixels. Nine training boxes in ten are then at least "
        + f"{found.smallest:g} pixels wide and high on average; {SMALLEST} are aimed at.\n"
        + f"resize: {values['resize']}\n"
    )


def _side(family: str, found: Statistics, teacher: bool) -> str:
    steps = found.teacher_steps if teacher else found.student_steps
    rooms = max(50, 50 * -(-4 * found.crowded // 50))
    head = (
        RCNN.format(
            pre=2 * rooms,
            post=rooms,
            canonical=min(224, round(1.4 * found.anchors[-1][-1])),
            hidden=128 if teacher else 64,
        )
        if family == "faster_rcnn"
        else DENSE.format(groups=8 if teacher else 4)
    )
    student = ([8, 16, 32], 16) if family == "faster_rcnn" else ([16, 32, 64], 32)
    widths, neck = ([32, 64, 128], 64) if teacher else student
    rate = TRUNK_RATE if teacher and family == "retinanet" else RATE
    if teacher and found.images <= SMALL_SET:
        rate += MIRROR
    if not teacher and found.answers_gib is not None:
        rate += ONCE.format(gib=found.answers_gib)
    return SIDE.format(
        family=family,
        widths=widths,
        blocks=2 if teacher else 1,
        neck=neck,
        size=found.size,
        anchors=found.anchors,
        aspect=found.aspect,
        head=head,
        steps=steps,
        passes=steps * BATCH / found.images,
        images=found.images,
        hint="" if teacher else HINT,
        batch=BATCH,
        rate=rate,
    )
