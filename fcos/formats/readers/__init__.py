"""Readers of labelled folders, a module for each format."""
