"""The commands of python -m fcos, a module each."""
