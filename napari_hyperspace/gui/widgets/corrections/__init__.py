"""The section of the dock that corrects labels."""
