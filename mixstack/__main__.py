"""`python -m mixstack`: the same as the command `mixstack`."""

from mixstack.cli.main import entry

if __name__ == "__main__":
    entry()
