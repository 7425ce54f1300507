"""Real training runs, clean and crashed, whose output becomes test stories."""
