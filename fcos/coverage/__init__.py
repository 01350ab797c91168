"""What a target assignment does to a data set, without training: recall, ambiguity, positives per level."""
