"""How well the class-conditional model answers a user who paints; see ``__main__``."""
