"""What a trained detector is worth and what it costs: COCO AP, VOC AP, parameters, FLOPs, latency."""
