"""Who this process acts for, and what it may do."""
