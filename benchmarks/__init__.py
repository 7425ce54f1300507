"""Measurements, a command each: ``python -m benchmarks.NAME``. They print ratios within one run."""
