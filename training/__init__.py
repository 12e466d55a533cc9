"""Training, prediction and evaluation of spacing-adaptive models: ``python -m training``."""
