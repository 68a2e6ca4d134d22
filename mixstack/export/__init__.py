"""One file per format: each writes a `Profile` to a text stream."""
