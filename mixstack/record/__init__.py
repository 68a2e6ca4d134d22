"""The live half: attach to a process, follow it, and write down what the probe sees."""
