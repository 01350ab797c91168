"""Data sets in COCO format: reading, checking, rendering, and batches for training and evaluation."""
