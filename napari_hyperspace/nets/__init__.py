"""The networks, the factories that make them for a spacing, and the model file."""
