"""What the user paints on a Labels layer, and answers that are written into it."""
