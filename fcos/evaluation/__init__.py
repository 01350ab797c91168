"""Evaluation of detections: COCO metrics and the analyses beside them."""
