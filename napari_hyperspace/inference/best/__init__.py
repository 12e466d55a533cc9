"""The most accurate and slowest way to segment: several networks of a model, averaged."""
