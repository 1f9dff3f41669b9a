"""`python -m errata.command` is `errata`."""

from errata.command import main

if __name__ == "__main__":
    main()
