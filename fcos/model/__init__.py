"""The detector: from images to HeadOutputs."""
