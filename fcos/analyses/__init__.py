"""What detections say beside COCO's numbers: each file measures one thing, switched on by postprocess.analyses."""
