"""A service that reads payment cards in real handwritten digits, and meets a camera it was not trained for."""
