"""Augmentations of training samples."""
