"""The kernel side: the probe, the structures it shares with us, and what loads and drains it."""
