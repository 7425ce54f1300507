"""The sub-commands of ``trainwreck``, a file each."""
