"""Methods for convolutional detectors, by the level whose tensors they act on."""
