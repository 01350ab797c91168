"""Training: optimizer steps, learning rates, checkpoints and interruptions."""
