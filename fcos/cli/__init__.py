"""The commands of python -m fcos, one module each; torch is imported inside functions, so that --help is fast."""
