"""Image files: found, checked, opened, decoded."""
