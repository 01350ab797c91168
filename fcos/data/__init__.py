"""Data sets in COCO format: reading, checking, drawing, and batches for training and evaluation."""
