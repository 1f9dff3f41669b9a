"""The statistical laboratory: quality/ on streams whose truth is known."""
