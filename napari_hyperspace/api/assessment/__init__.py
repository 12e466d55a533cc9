"""How good a result is: a second opinion of the model, and what its card expects."""
