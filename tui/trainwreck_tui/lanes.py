"""The lanes of the timeline, as data: what is drawn, from which view, and for which causes first.

Every query takes ``$host``, ``$start`` and ``$end`` and gives ``ts``, ``name`` (of the line in the
lane, '' where there is one only) and ``value`` (NULL: not known then). Only public views are named.
"""

from __future__ import annotations

from dataclasses import dataclass

_SPAN = "host = $host AND ts BETWEEN $start AND $end"


def _gauge(view: str, column: str, name: str = "''", where: str = "true") -> str:
    return (
        f"SELECT ts, {name} AS name, {column}::DOUBLE AS value FROM {view}"
        f" WHERE {_SPAN} AND {where} ORDER BY ts"
    )


def _rate(
    view: str, column: str, keys: str, name: str, where: str = "true", scale: str = "1"
) -> str:
    """Counters as rates per second, times ``scale``; NULL across a reset.

    The span is cut before the window function runs, so that a store of days costs no more.
    """
    delta = f"({column}) - lag({column}) OVER w"
    return (
        f"SELECT ts, {name} AS name, CASE WHEN {delta} >= 0 THEN {scale} * ({delta})"
        " / nullif(epoch(ts) - lag(epoch(ts)) OVER w, 0) END AS value"
        f" FROM {view} WHERE {_SPAN} AND {where}"
        f" WINDOW w AS (PARTITION BY {keys} ORDER BY ts) ORDER BY ts"
    )


@dataclass(frozen=True, slots=True)
class Lane:
    """One chart over time."""

    key: str
    title: str
    sql: str
    unit: str
    """As ``units.value`` takes it."""
    causes: frozenset[str] = frozenset()
    """Codes of causes, or domains, that it proves or disproves: then it comes first."""
    low: float | None = 0.0
    """The axis reaches down to this; None: to the smallest value."""
    high: float | None = None
    """The axis reaches up to this; None: to the largest value."""


def _for(*codes: str) -> frozenset[str]:
    return frozenset(codes)


_BUSY = "user_ticks + nice_ticks + system_ticks + irq_ticks + softirq_ticks + steal_ticks"
_CHURN = "interface <> 'lo'"
_GPU = "'GPU ' || coalesce(gpu_index::VARCHAR, right(uuid, 4))"
_RANK = "rank IS NOT NULL AND role = 'training'"
_RANK_NAME = (
    "CASE WHEN min(job) OVER () IS DISTINCT FROM max(job) OVER ()"
    " THEN coalesce(left(job, 8), '?') || ' ' ELSE '' END || 'r' || rank"
)
"""The job is named where several ran at once."""

LANES: tuple[Lane, ...] = (
    Lane(
        "rss",
        "Worker memory",
        _gauge("process", "rss_bytes", _RANK_NAME, _RANK),
        "bytes",
        _for(
            "memory",
            "host_oom",
            "host_memory_leak",
            "shm_exhausted",
            "user_kill",
            "segfault_software",
            "python_exception",
        ),
    ),
    Lane(
        "cgroup",
        "Job memory (cgroup)",
        _gauge(
            "process",
            "max(cgroup_memory_bytes)",
            "regexp_extract(cgroup, '[^/]*$')",
            "role = 'training' AND cgroup_memory_bytes IS NOT NULL GROUP BY ts, cgroup",
        ),
        "bytes",
        _for("host_oom", "host_memory_leak", "shm_exhausted"),
    ),
    Lane(
        "available",
        "Memory available",
        _gauge("memory", "available_bytes"),
        "bytes",
        _for("memory", "host_oom", "host_memory_leak", "user_kill"),
    ),
    Lane("shmem", "Shared memory", _gauge("memory", "shmem_bytes"), "bytes", _for("shm_exhausted")),
    Lane(
        "psi_memory",
        "Waiting for memory",
        _gauge("pressure", "some_avg10_percent", "''", "resource = 'memory' AND scope = 'host'"),
        "%",
        _for("host_oom", "host_memory_leak", "numa"),
    ),
    Lane(
        "loss",
        "Loss",
        _gauge(
            "training_event", "min(loss)", "''", "kind = 'step' AND loss IS NOT NULL GROUP BY ts"
        ),
        "",
        _for(
            "algorithm",
            "nan_divergence",
            "loss_spike",
            "grad_overflow_loss_scale",
            "gpu_sdc",
            "data_error",
        ),
        low=None,
    ),
    Lane(
        "grad_norm",
        "Gradient norm",
        _gauge(
            "training_event",
            "max(grad_norm)",
            "''",
            "kind = 'step' AND grad_norm IS NOT NULL GROUP BY ts",
        ),
        "",
        _for("algorithm", "nan_divergence", "loss_spike", "grad_overflow_loss_scale"),
    ),
    Lane(
        "gpu_util",
        "GPU utilisation",
        _gauge("gpu", "utilization_percent", _GPU),
        "%",
        _for(
            "hardware",
            "gpu_hang",
            "gpu_fell_off_bus",
            "hang_software",
            "straggler",
            "dataloader_starvation",
            "nccl_timeout_desync",
        ),
        high=100.0,
    ),
    Lane(
        "gpu_power",
        "GPU power",
        _gauge("gpu", "power_w", _GPU),
        "W",
        _for("hardware", "gpu_fell_off_bus", "gpu_power", "gpu_hang", "gpu_thermal"),
    ),
    Lane(
        "gpu_temperature",
        "GPU temperature",
        _gauge("gpu", "temperature_c", _GPU),
        "°C",
        _for(
            "hardware",
            "gpu_thermal",
            "cooling_chassis",
            "cooling_capacity",
            "gpu_fell_off_bus",
            "gpu_hbm_ecc",
        ),
        low=None,
    ),
    Lane(
        "gpu_clock",
        "GPU SM clock",
        _gauge("gpu", "sm_clock_mhz", _GPU),
        "MHz",
        _for("gpu_thermal", "gpu_power", "straggler", "cooling_capacity"),
    ),
    Lane(
        "gpu_memory",
        "GPU memory",
        _gauge("gpu", "memory_used_bytes", _GPU),
        "bytes",
        _for("gpu_oom", "gpu_oom_fragmentation", "gpu_memory_leak"),
    ),
    Lane(
        "gpu_ecc",
        "GPU ECC errors, uncorrected",
        _gauge("gpu", "ecc_uncorrected_count", _GPU),
        "",
        _for("gpu_hbm_ecc", "gpu_sram_ecc"),
    ),
    Lane(
        "pcie_errors",
        "PCIe errors, correctable",
        _gauge("pcie", "aer_correctable_count", "pci", "aer_correctable_count > 0"),
        "",
        _for("pcie_link", "gpu_fell_off_bus"),
    ),
    Lane(
        "filesystem",
        "Disk space free",
        _gauge("filesystem", "available_bytes", "mount", "NOT coalesce(read_only, false)"),
        "bytes",
        _for("disk_full", "checkpoint_io", "storage_nfs"),
    ),
    Lane(
        "written",
        "Disk writes",
        _rate(
            "disk", "written_bytes", "device", "device", "device NOT SIMILAR TO '(loop|ram|zram).*'"
        ),
        "bytes/s",
        _for("disk_full", "checkpoint_io", "storage_bandwidth", "disk"),
    ),
    Lane(
        "psi_io",
        "Waiting for disk",
        _gauge("pressure", "some_avg10_percent", "''", "resource = 'io' AND scope = 'host'"),
        "%",
        _for("disk", "storage_bandwidth", "storage_nfs", "checkpoint_io", "dataloader_starvation"),
    ),
    Lane(
        "process_cpu",
        "Worker CPU",
        _rate(
            "process", "user_ticks + system_ticks", "pid, started_us, rank, job", _RANK_NAME, _RANK
        ),
        "%",
        _for(
            "hang_software",
            "nccl_timeout_desync",
            "segfault_software",
            "python_exception",
            "preemption",
            "straggler",
            "user_kill",
            "rendezvous",
            "time_limit",
        ),
    ),
    Lane(
        "step",
        "Step",
        _gauge(
            "training_event", "max(step)", "''", "kind = 'step' AND step IS NOT NULL GROUP BY ts"
        ),
        "",
        _for(
            "hang_software",
            "nccl_timeout_desync",
            "preemption",
            "time_limit",
            "straggler",
            "software",
            "operational",
        ),
        low=None,
    ),
    Lane(
        "step_time",
        "Step time",
        _gauge(
            "training_event",
            "max(step_time_s)",
            "''",
            "kind = 'step' AND step_time_s IS NOT NULL GROUP BY ts",
        ),
        "s",
        _for("architecture", "straggler", "hang_software", "storage_bandwidth"),
    ),
    Lane(
        "cpu",
        "CPU",
        f"SELECT ts, '' AS name, 100 * ({_BUSY} - lag({_BUSY}) OVER w)"
        f" / nullif({_BUSY} + idle_ticks + iowait_ticks - lag({_BUSY} + idle_ticks + iowait_ticks)"
        f" OVER w, 0) AS value FROM cpu WHERE {_SPAN} AND core = 'all'"
        " WINDOW w AS (ORDER BY ts) ORDER BY ts",
        "%",
        _for("hang_software", "dataloader_starvation", "cpu_mce", "cpu_thermal", "straggler"),
        high=100.0,
    ),
    Lane(
        "psi_cpu",
        "Waiting for CPU",
        _gauge("pressure", "some_avg10_percent", "''", "resource = 'cpu' AND scope = 'host'"),
        "%",
        _for("numa", "dataloader_starvation"),
    ),
    Lane(
        "sent",
        "Network sent",
        _rate("network", "sent_bytes", "interface", "interface", _CHURN),
        "bytes/s",
        _for(
            "nccl_timeout_desync",
            "switch_cable",
            "nic_ib",
            "nccl_config_network",
            "interconnect_bandwidth",
            "rendezvous",
        ),
    ),
    Lane(
        "ib_sent",
        "InfiniBand sent",
        _rate("infiniband", "sent_bytes", "port_guid, device, port", "device"),
        "bytes/s",
        _for("nccl_timeout_desync", "switch_cable", "nic_ib", "interconnect_bandwidth"),
    ),
    Lane(
        "temperature",
        "Temperatures",
        _gauge(
            "thermal", "max(temperature_c)", "chip", "temperature_c IS NOT NULL GROUP BY ts, chip"
        ),
        "°C",
        _for("cooling_chassis", "cpu_thermal", "cooling_capacity"),
        low=None,
    ),
    Lane(
        "power",
        "Power supplies and rails",
        _gauge("power", "power_w", "chip || coalesce(' ' || sensor, '')", "power_w IS NOT NULL"),
        "W",
        _for("psu_power", "gpu_power"),
    ),
)

KERNEL_EVENTS = (
    "SELECT ts, priority, text FROM kernel_event"
    f" WHERE {_SPAN} AND (priority <= 3 OR text SIMILAR TO '.*(oom|OOM|Out of memory|segfault|Xid|"
    "SXid|Killed process|hung|blocked for|I/O error|link is (not )?[Dd]own).*')"
    " ORDER BY ts LIMIT 2000"
)
PROCESS_EXITS = (
    "SELECT ts, pid, name, rank, exit_code, signal, role FROM process_exit"
    f" WHERE {_SPAN} AND (signal IS NOT NULL OR role IN ('training', 'child'))"
    " ORDER BY ts LIMIT 2000"
)
ALARMS = (
    "SELECT ts, kind, rank, text FROM training_event"
    f" WHERE {_SPAN} AND kind IN ('alarm', 'silence') ORDER BY ts LIMIT 2000"
)
EXTENT = "SELECT host, min(ts) AS first, max(ts) AS last FROM memory GROUP BY host ORDER BY host"
ABSENT = (
    "SELECT collector, arg_max(status, ts) AS status, arg_max(detail, ts) AS detail"
    " FROM collector_health WHERE host = $host GROUP BY collector"
    " HAVING status IN ('absent', 'denied', 'error', 'hang') ORDER BY collector"
)
COLUMN_HELP = (
    "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns()"
    " WHERE NOT internal ORDER BY table_name, column_index"
)

QUERIES: dict[str, str] = {
    "kernel_events": KERNEL_EVENTS,
    "process_exits": PROCESS_EXITS,
    "alarms": ALARMS,
    "absent": ABSENT,
    "extent": EXTENT,
    "column_help": COLUMN_HELP,
}
"""The queries that are not lanes, by name."""


def ordered(cause: str, domain: str) -> list[Lane]:
    """All lanes; those that matter for the cause first, then those for its domain."""

    def rank(lane: Lane) -> int:
        return 0 if cause in lane.causes else 1 if domain in lane.causes else 2

    return sorted(LANES, key=rank)
