"""Exported detectors: files that other runtimes execute, and their evaluation here. onnx is imported inside functions."""
