"""What is known of a live process and of its CPython, read from outside and without stopping it."""
