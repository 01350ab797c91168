"""What is left of an evaluation: detections, the annotations behind them, thumbnails; written and read back."""
