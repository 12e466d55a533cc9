"""Small widgets that the panels of the dock are made of."""
