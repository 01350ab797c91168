"""Detections of images and videos that have no annotations: which files, in what batches, written where."""
