"""The recorder: reads what the kernel, the bus and the GPUs say, and keeps it through the crash."""

__version__ = "0.1.0"
