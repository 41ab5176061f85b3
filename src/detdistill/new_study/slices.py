"""The files of a new study, with comments that say where their numbers come from.

Sizes of the detectors and weights of the recipes are those of the embedded study `digits`.
"""

from typing import Any

import yaml

from detdistill.new_study.statistics import BATCH, SMALLEST, Statistics

STUDY = """\
study: {study}
title: {title}
seeds: [0, 1]
# What training begins with: the manifest means the data alone; another pair's teacher or start gives backbone and neck.
pairs:
  - pair: faster_rcnn
    engine: torchvision
    teacher_from: data/{study}/manifest.json
    student_from: data/{study}/manifest.json
  - pair: retinanet
    engine: torchvision
    teacher_from: runs/{study}/faster_rcnn/teacher/0/model.safetensors
    student_from: data/{study}/manifest.json
# Students that no teacher helps: the same-recipe baseline, and the longer schedule with the same core time.
plain:
  - {{pair: faster_rcnn, engine: torchvision, recipe: plain}}
  - {{pair: faster_rcnn, engine: torchvision, recipe: plain_long}}
  - {{pair: retinanet, engine: torchvision, recipe: plain}}
  - {{pair: retinanet, engine: torchvision, recipe: plain_long}}
# One recipe a level. `code` is where its methods are written, below src/detdistill/distill.
distilled:
  - {{pair: faster_rcnn, engine: torchvision, recipe: fitnets, code: cnn/backbone/fitnets.py}}
  - {{pair: faster_rcnn, engine: torchvision, recipe: pkd, code: cnn/neck/pkd.py}}
  - {{pair: faster_rcnn, engine: torchvision, recipe: chen, code: cnn/rpn_roi/chen.py}}
  - {{pair: retinanet, engine: torchvision, recipe: crosskd, code: cnn/head/crosskd.py}}
# A teacher of another pair: also `teacher`, that pair, and `teacher_engine`.
across: []
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
  steps: {steps}   # {passes:.0f} passes over the {images} training images
  batch: {batch}
  lr: {lr}
  evaluations: 4
"""

# Proposals and samples leave room for the objects of all but one image in twenty.
RCNN = """\
  rpn_batch: 64
  rpn_pre_nms: {pre}
  rpn_post_nms: {post}
  roi_batch: 64
  roi_positives: 0.5
  roi_size: 5
  roi_samples: 1
  hidden: {hidden}
"""

DENSE = """\
  candidates: 200
  norm_groups: {groups}
"""

RECIPES = {
    "faster_rcnn/start": "schedule_factor: 4.0   # of the student's steps\n",
    "faster_rcnn/plain": "schedule_factor: 1.0\n",
    "faster_rcnn/plain_long": "schedule_factor: 2.6   # of the student's steps: about the core time of a recipe\n",
    "faster_rcnn/fitnets": "methods:\n  fitnets: {weight: 0.5, strides: [4, 8, 16]}\n",
    "faster_rcnn/pkd": "methods:\n  pkd: {weight: 0.5}\n",
    "faster_rcnn/chen": "methods:\n  chen: {rpn_classes: 0.5, rpn_boxes: 0.5, roi_classes: 1.0, roi_boxes: 0.5}\n",
    "retinanet/start": "schedule_factor: 4.0   # of the student's steps\n",
    "retinanet/plain": "schedule_factor: 1.0\n",
    "retinanet/plain_long": "schedule_factor: 2.8   # of the student's steps: about the core time of a recipe\n",
    "retinanet/crosskd": "methods:\n  crosskd: {classes: 0.5, boxes: 1.0}\n",
}


def slices(study: str, title: str, data: dict[str, Any], found: Statistics) -> dict[str, str]:
    """File name below `params/STUDY` -> content. `data` is that of `data.yaml`."""
    files = {
        "study.yaml": STUDY.format(study=study, title=yaml.safe_dump(title, width=1000).removesuffix("...\n").strip()),
        "data.yaml": _data(data, found),
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
        RCNN.format(pre=2 * rooms, post=rooms, hidden=128 if teacher else 32)
        if family == "faster_rcnn"
        else DENSE.format(groups=8 if teacher else 4)
    )
    student = ([8, 8, 8], 8) if family == "faster_rcnn" else ([16, 16, 16], 16)
    widths, neck = ([32, 64, 128], 64) if teacher else student
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
        batch=BATCH,
        lr=0.003 if teacher else 0.004,
    )
