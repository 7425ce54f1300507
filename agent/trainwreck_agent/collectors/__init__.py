"""The collectors, a file per source."""
