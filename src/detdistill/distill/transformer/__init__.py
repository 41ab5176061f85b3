"""Methods for transformer detectors, by the level whose tensors they act on."""
