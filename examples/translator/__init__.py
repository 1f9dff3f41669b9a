"""A service that translates: real machine translations, and what real post-editors did to them, replayed."""
