"""What the user does with finished results."""
