"""How well assessments tell good results from bad ones, and estimate Dice."""
