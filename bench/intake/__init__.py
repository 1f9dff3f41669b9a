"""The intake beside a bare bulk load, stock Faust, Quix Streams and Bytewax: `make bench-intake`."""
