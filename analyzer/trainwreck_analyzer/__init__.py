"""The investigator: reads logs and telemetry, tells the first cause from the loud victims."""
