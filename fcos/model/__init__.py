"""The detector: images to HeadOutputs and nothing else."""
