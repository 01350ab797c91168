"""Pictures of bounded size: detections beside the ground truth, and target assignments."""
