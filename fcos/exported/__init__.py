"""Detectors as files for other runtimes, and their evaluation here; onnx is imported inside functions."""
