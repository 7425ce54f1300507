"""A real failure on this machine: a small training job that dies while the recorder looks on."""
