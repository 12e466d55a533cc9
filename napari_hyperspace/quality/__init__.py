"""What can be said about a scan and its labels without a network: figures, ranges, warnings."""
