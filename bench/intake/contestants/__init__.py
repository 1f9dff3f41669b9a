"""What the intake is compared with: each a program of its own, run as `python -m`, without any import from Errata."""
