"""Annotated folders in the formats of labelling tools, recognised, read and written as COCO."""
