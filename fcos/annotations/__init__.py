"""Annotations of data sets: COCO files, their boxes and labels."""
