"""Statistics of a target assignment on a data set, without training: recall, ambiguity, positives per level."""
