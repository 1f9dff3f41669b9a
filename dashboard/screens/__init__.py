"""One file per screen; each has one function, `show`, that reads like a description of the screen."""
