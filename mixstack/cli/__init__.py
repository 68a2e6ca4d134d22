"""One short file per command: argv in, exit code out."""
