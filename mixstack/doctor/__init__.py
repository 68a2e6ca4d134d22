"""What this machine and user can do, and what would mend the rest."""
