"""Target assignment: which ground-truth box each location is trained to predict."""
