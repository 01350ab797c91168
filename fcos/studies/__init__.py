"""Studies of single images and trained detectors, for the command line."""
