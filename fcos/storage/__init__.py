"""Files of runs and caches, and what the tracking store's writer and reader share."""
