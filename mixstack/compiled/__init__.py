"""What has to be quick over whole files, in C: a library that is built with the probe.

Its input is files of the target. Whatever is in them, it reads nothing beyond the bytes that it is
given.
"""
