"""Training losses: focal, box regression and quality."""
