"""The declared tables, a file per part of the machine."""
