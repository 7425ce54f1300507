"""The lanes of the timeline, as data: what is drawn, from which view, for which causes first."""

from __future__ import annotations

from trainwreck_tui.lane import SPAN, Lane, causes_of, gauge, rate

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
        gauge("process", "rss_bytes", _RANK_NAME, _RANK),
        "bytes",
        causes_of(
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
        gauge(
            "process",
            "max(cgroup_memory_bytes)",
            "regexp_extract(cgroup, '[^/]*$')",
            "role = 'training' AND cgroup_memory_bytes IS NOT NULL GROUP BY ts, cgroup",
        ),
        "bytes",
        causes_of("host_oom", "host_memory_leak", "shm_exhausted"),
    ),
    Lane(
        "available",
        "Memory available",
        gauge("memory", "available_bytes"),
        "bytes",
        causes_of("memory", "host_oom", "host_memory_leak", "user_kill"),
    ),
    Lane(
        "shmem",
        "Shared memory",
        gauge("memory", "shmem_bytes"),
        "bytes",
        causes_of("shm_exhausted"),
    ),
    Lane(
        "psi_memory",
        "Waiting for memory",
        gauge("pressure", "some_avg10_percent", "''", "resource = 'memory' AND scope = 'host'"),
        "%",
        causes_of("host_oom", "host_memory_leak", "numa"),
    ),
    Lane(
        "loss",
        "Loss",
        gauge(
            "training_event", "min(loss)", "''", "kind = 'step' AND loss IS NOT NULL GROUP BY ts"
        ),
        "",
        causes_of(
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
        gauge(
            "training_event",
            "max(grad_norm)",
            "''",
            "kind = 'step' AND grad_norm IS NOT NULL GROUP BY ts",
        ),
        "",
        causes_of("algorithm", "nan_divergence", "loss_spike", "grad_overflow_loss_scale"),
    ),
    Lane(
        "gpu_util",
        "GPU utilisation",
        gauge("gpu", "utilization_percent", _GPU),
        "%",
        causes_of(
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
        gauge("gpu", "power_w", _GPU),
        "W",
        causes_of("hardware", "gpu_fell_off_bus", "gpu_power", "gpu_hang", "gpu_thermal"),
    ),
    Lane(
        "gpu_temperature",
        "GPU temperature",
        gauge("gpu", "temperature_c", _GPU),
        "°C",
        causes_of(
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
        gauge("gpu", "sm_clock_mhz", _GPU),
        "MHz",
        causes_of("gpu_thermal", "gpu_power", "straggler", "cooling_capacity"),
    ),
    Lane(
        "gpu_memory",
        "GPU memory",
        gauge("gpu", "memory_used_bytes", _GPU),
        "bytes",
        causes_of("gpu_oom", "gpu_oom_fragmentation", "gpu_memory_leak"),
    ),
    Lane(
        "gpu_ecc",
        "GPU ECC errors, uncorrected",
        gauge("gpu", "ecc_uncorrected_count", _GPU),
        "",
        causes_of("gpu_hbm_ecc", "gpu_sram_ecc"),
    ),
    Lane(
        "pcie_errors",
        "PCIe errors, correctable",
        gauge("pcie", "aer_correctable_count", "pci", "aer_correctable_count > 0"),
        "",
        causes_of("pcie_link", "gpu_fell_off_bus"),
    ),
    Lane(
        "filesystem",
        "Disk space free",
        gauge("filesystem", "available_bytes", "mount", "NOT coalesce(read_only, false)"),
        "bytes",
        causes_of("disk_full", "checkpoint_io", "storage_nfs"),
    ),
    Lane(
        "written",
        "Disk writes",
        rate(
            "disk", "written_bytes", "device", "device", "device NOT SIMILAR TO '(loop|ram|zram).*'"
        ),
        "bytes/s",
        causes_of("disk_full", "checkpoint_io", "storage_bandwidth", "disk"),
    ),
    Lane(
        "psi_io",
        "Waiting for disk",
        gauge("pressure", "some_avg10_percent", "''", "resource = 'io' AND scope = 'host'"),
        "%",
        causes_of(
            "disk", "storage_bandwidth", "storage_nfs", "checkpoint_io", "dataloader_starvation"
        ),
    ),
    Lane(
        "process_cpu",
        "Worker CPU",
        rate(
            "process", "user_ticks + system_ticks", "pid, started_us, rank, job", _RANK_NAME, _RANK
        ),
        "%",
        causes_of(
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
        gauge(
            "training_event", "max(step)", "''", "kind = 'step' AND step IS NOT NULL GROUP BY ts"
        ),
        "",
        causes_of(
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
        gauge(
            "training_event",
            "max(step_time_s)",
            "''",
            "kind = 'step' AND step_time_s IS NOT NULL GROUP BY ts",
        ),
        "s",
        causes_of("architecture", "straggler", "hang_software", "storage_bandwidth"),
    ),
    Lane(
        "cpu",
        "CPU",
        f"SELECT ts, '' AS name, 100 * ({_BUSY} - lag({_BUSY}) OVER w)"
        f" / nullif({_BUSY} + idle_ticks + iowait_ticks - lag({_BUSY} + idle_ticks + iowait_ticks)"
        f" OVER w, 0) AS value FROM cpu WHERE {SPAN} AND core = 'all'"
        " WINDOW w AS (ORDER BY ts) ORDER BY ts",
        "%",
        causes_of("hang_software", "dataloader_starvation", "cpu_mce", "cpu_thermal", "straggler"),
        high=100.0,
    ),
    Lane(
        "psi_cpu",
        "Waiting for CPU",
        gauge("pressure", "some_avg10_percent", "''", "resource = 'cpu' AND scope = 'host'"),
        "%",
        causes_of("numa", "dataloader_starvation"),
    ),
    Lane(
        "sent",
        "Network sent",
        rate("network", "sent_bytes", "interface", "interface", _CHURN),
        "bytes/s",
        causes_of(
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
        rate("infiniband", "sent_bytes", "port_guid, device, port", "device"),
        "bytes/s",
        causes_of("nccl_timeout_desync", "switch_cable", "nic_ib", "interconnect_bandwidth"),
    ),
    Lane(
        "temperature",
        "Temperatures",
        gauge(
            "thermal", "max(temperature_c)", "chip", "temperature_c IS NOT NULL GROUP BY ts, chip"
        ),
        "°C",
        causes_of("cooling_chassis", "cpu_thermal", "cooling_capacity"),
        low=None,
    ),
    Lane(
        "power",
        "Power supplies and rails",
        gauge("power", "power_w", "chip || coalesce(' ' || sensor, '')", "power_w IS NOT NULL"),
        "W",
        causes_of("psu_power", "gpu_power"),
    ),
)


def ordered(cause: str, domain: str) -> list[Lane]:
    """All lanes; those that matter for the cause first, then those for its domain."""

    def rank(lane: Lane) -> int:
        return 0 if cause in lane.causes else 1 if domain in lane.causes else 2

    return sorted(LANES, key=rank)
