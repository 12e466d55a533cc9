"""What the user marks: rough labels made fine, results corrected, models adapted."""
