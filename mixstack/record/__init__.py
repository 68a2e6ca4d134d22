"""The live half: attach, follow, drain, write."""
