"""What the user corrects: painted structures, boxes, models."""
