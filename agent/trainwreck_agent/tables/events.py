"""Tables of events: what the kernel and the training said, and what the recorder lost."""

from trainwreck_agent.schema import Table, counter, gauge, label, text

KERNEL_EVENT = Table(
    "kernel_event",
    "Lines of the kernel log (/dev/kmsg). ts is the kernel's own time of the line.",
    (
        label("boot_id", "The boot that the sequence numbers count in."),
        label("seq", "Sequence number of the record.", "BIGINT"),
        gauge("priority", "Syslog severity, 0 emergency … 7 debug."),
        gauge("facility", "Syslog facility, 0 is the kernel."),
        gauge("monotonic_us", "Time since boot, µs, as the kernel stamped it."),
        text("text", "The line."),
    ),
)

KERNEL_TRACE_EVENT = Table(
    "kernel_trace_event",
    "Hardware errors that drivers report as trace events (tracefs): Xid, SXid, memory errors, PCIe"
    " AER, machine checks. ts is the kernel's own time of the event.",
    (
        label("event", "System and event: nvidia:nvidia_dev_xid, ras:mc_event, …"),
        label("monotonic_us", "Time since boot, µs, as the kernel stamped it.", "BIGINT"),
        gauge("cpu", "Processor that it was reported on."),
        gauge("pid", "Process that ran there then, not the culprit."),
        text("device", "Device that the event names; NULL: none."),
        gauge("code", "Xid or SXid; NULL for other events."),
        text("text", "The event's fields as the kernel prints them."),
    ),
)

TRAINING_EVENT = Table(
    "training_event",
    "What followed training logs said: step numbers with their metrics, and lines that look wrong.",
    (
        label("path", "The log file."),
        label("line", "Line number in the file, from 1.", "BIGINT"),
        text("kind", "step, alarm, silence or start."),
        gauge("rank", "Rank that the line names; NULL: none."),
        gauge("step", "Step or iteration number."),
        gauge("loss", "Loss; NaN is stored as NaN, NULL: not in the line.", "DOUBLE"),
        gauge("grad_norm", "Norm of the gradient.", "DOUBLE"),
        gauge("learning_rate", "Learning rate.", "DOUBLE"),
        gauge("step_time_s", "Time of one step, s.", "DOUBLE"),
        gauge("tokens_per_s", "Throughput, tokens/s.", "DOUBLE"),
        text("text", "The line, at most 1,000 characters; only for alarms."),
    ),
)

COLLECTOR_HEALTH = Table(
    "collector_health",
    "What was not recorded and why, what it cost, what was lost. Absence is a row here, never a 0.",
    (
        label("collector", "Name of the collector."),
        text("status", "ok, absent, denied, error, slow, hang, lost, gap or clock."),
        text("detail", "What, where, and why; NULL when ok."),
        counter("reads_count", "Reads since the recorder started."),
        counter("failures_count", "Failed reads since the recorder started."),
        counter("lost_count", "Things lost: ticks, kernel lines, exits, by collector."),
        gauge("read_us", "Time of the last read, µs."),
        gauge("read_max_us", "Longest read since the last row, µs."),
    ),
)

INCIDENT = Table(
    "incident",
    "Incidents that were diagnosed with this data. ts is when the incident began.",
    (
        label("id", "Identity of the incident."),
        gauge("ended", "When it ended.", "TIMESTAMPTZ"),
        text("cause", "Code of the cause, as in causes.csv."),
        text("domain", "hardware, architecture, memory, algorithm, software, operational or none."),
        gauge("confidence", "Probability that the cause is right, 0 … 1.", "DOUBLE"),
        text("summary", "One sentence."),
        text("job", "Job, where known."),
        gauge("rank", "Rank that failed first; NULL: unknown."),
        text("document", "Path of the whole diagnosis (JSON)."),
    ),
)
