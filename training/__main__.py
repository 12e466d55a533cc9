"""Entry point of ``python -m training``; the script ``hyperspace`` runs the same commands."""

from training.cli import main

if __name__ == "__main__":
    main()
