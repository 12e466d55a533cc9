"""Accuracy on real scans, where labels are rare: beside a peer, and through scans of one visit."""
