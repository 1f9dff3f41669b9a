"""The demo services: complete products small enough for a laptop, each improved by Errata."""
