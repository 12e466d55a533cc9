"""What cards say about good results: figures of training labels, and agreement against Dice."""
