"""From head outputs to detections, with oracles and test-time augmentation."""
