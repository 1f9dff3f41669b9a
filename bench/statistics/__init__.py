"""The statistical laboratory: what the detectors, intervals and estimates of quality/ do on streams whose truth is known."""
