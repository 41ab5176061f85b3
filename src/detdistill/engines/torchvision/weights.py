"""Weights that training begins with: torchvision's classifiers and detectors, or a file of the same architecture."""

from __future__ import annotations

from torch import nn

from detdistill.core.errors import UserError
from detdistill.detectors.published import WeightsFile, find, read_state

BODY = "backbone.body."


def load(model: nn.Module, weights: WeightsFile, class_layers: tuple[str, ...], where: str) -> None:
    """Load a detector's weights, or a classifier's into the body alone; what hangs on other classes stays as it was.

    Args:
        class_layers: what the names of the layers begin with whose shapes hang on the classes.
        where: the field of the parameters, for errors.

    Raises:
        UserError: a file that is missing, altered, not of tensors alone, or of another architecture.
    """
    path = find(weights, where)
    state = read_state(path, where)
    if part := "" if any(name.startswith("backbone.") for name in state) else BODY:
        state = {
            part + name.removeprefix("features."): tensor
            for name, tensor in state.items()
            if not name.startswith(("fc.", "classifier."))
        }
    own = model.state_dict()
    for name in [name for name in state if name.startswith(class_layers)]:
        if name in own and own[name].shape != state[name].shape:
            del state[name]
    try:
        # Not strict, for then torchvision gives the tensors of its older files their present names.
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"{path}: weights of another architecture: {str(error).splitlines()[1]}") from None
    absent = [
        name
        for name in missing
        if name.startswith(part) and not name.startswith(class_layers) and not name.endswith("num_batches_tracked")
    ]
    if absent:
        raise UserError(f"{path}: weights of another architecture: no tensor {absent[0]}, which the detector has")
    if unexpected:
        raise UserError(f"{path}: weights of another architecture: {unexpected[0]}, which the detector has not")
