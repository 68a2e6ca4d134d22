"""Names for addresses and code objects: native, kernel and Python."""
