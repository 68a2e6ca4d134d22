"""Joining native and Python stacks: pure functions from the capture's values to a profile."""
