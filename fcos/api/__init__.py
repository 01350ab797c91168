"""What `import fcos` offers; its names are listed in `fcos/__init__.py`."""
