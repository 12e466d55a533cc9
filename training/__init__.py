"""Training, prediction and evaluation of spacing-adaptive models.

The command line is ``hyperspace``, or ``python -m training``.
"""
