"""What is done to label maps after a segmentation: cleaning, and dividing left and right."""
