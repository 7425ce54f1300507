"""Host-wide tables: processors, memory, pressure, storage, network."""

from trainwreck_agent.schema import Table, counter, flag, gauge, label, text

HOST = Table(
    "host",
    "What this machine is; a row at every start of the recorder and on every change.",
    (
        label("boot_id", "The kernel's id of this boot."),
        text("event", "Why the row was written: start, change, stop."),
        text("kernel", "Kernel release."),
        text("distribution", "PRETTY_NAME of os-release."),
        text("machine_id", "SHA-256 of /etc/machine-id, first 16 hex digits; the id itself stays."),
        text("cpu_model", "Model name of the first processor."),
        gauge("cpu_count", "Logical processors online."),
        gauge("memory_total_bytes", "MemTotal."),
        gauge("numa_node_count", "NUMA nodes; NULL where the kernel has none."),
        gauge("boot_time_us", "Wall-clock time of boot, µs since 1970 UTC (btime of /proc/stat)."),
        gauge(
            "realtime_offset_us", "CLOCK_REALTIME − CLOCK_MONOTONIC, µs: kernel time to wall time."
        ),
        flag("clock_synchronised", "The kernel says that its clock is disciplined (adjtimex)."),
        gauge("clock_error_us", "The kernel's estimate of its clock's error, µs."),
        text(
            "virtualisation", "Hypervisor or container, as the machine tells; NULL if none is seen."
        ),
        text("kernel_command_line", "/proc/cmdline, secrets redacted."),
        text("agent_version", "Version of the recorder."),
        gauge("interval_ms", "Time between two ticks, ms."),
    ),
)

CPU = Table(
    "cpu",
    "Processor time; core 'all' is the host, single cores come at a slower pace.",
    (
        label("core", "'all' or the number of a logical processor."),
        counter("user_ticks", "Time in user space, USER_HZ ticks (1/100 s)."),
        counter("nice_ticks", "Time in niced user space, ticks."),
        counter("system_ticks", "Time in the kernel, ticks."),
        counter("idle_ticks", "Idle time, ticks."),
        counter(
            "iowait_ticks", "Idle time with I/O outstanding, ticks; the kernel may let it fall."
        ),
        counter("irq_ticks", "Time in hard interrupts, ticks."),
        counter("softirq_ticks", "Time in soft interrupts, ticks."),
        counter("steal_ticks", "Time taken by the hypervisor, ticks."),
        counter("context_switches_count", "Context switches since boot; only for 'all'."),
        counter("forks_count", "Processes created since boot; only for 'all'."),
        gauge("procs_running", "Runnable tasks; only for 'all'."),
        gauge("procs_blocked", "Tasks waiting for I/O; only for 'all'."),
        gauge("load_1m", "Load average of one minute; only for 'all'.", "DOUBLE"),
        gauge(
            "frequency_mhz", "Current frequency; NULL where the kernel has no cpufreq.", "DOUBLE"
        ),
        counter(
            "core_throttle_count", "Thermal throttle events of the core; NULL where not counted."
        ),
        counter("package_throttle_count", "Thermal throttle events of the package; NULL likewise."),
        counter("package_throttle_ms", "Time the package was throttled, ms; NULL likewise."),
    ),
)

MEMORY = Table(
    "memory",
    "Memory of the host, from /proc/meminfo.",
    (
        gauge("total_bytes", "MemTotal."),
        gauge("free_bytes", "MemFree."),
        gauge("available_bytes", "MemAvailable: what can be had without swapping."),
        gauge("buffers_bytes", "Buffers."),
        gauge("cached_bytes", "Page cache, shared memory included."),
        gauge("anonymous_bytes", "AnonPages."),
        gauge("shmem_bytes", "Shared memory and tmpfs, /dev/shm included."),
        gauge("slab_bytes", "Slab."),
        gauge("slab_unreclaimable_bytes", "SUnreclaim."),
        gauge("unevictable_bytes", "Unevictable: pinned memory too."),
        gauge("mlocked_bytes", "Mlocked."),
        gauge("dirty_bytes", "Dirty page cache."),
        gauge("writeback_bytes", "Page cache being written."),
        gauge("committed_bytes", "Committed_AS."),
        gauge("swap_total_bytes", "SwapTotal."),
        gauge("swap_free_bytes", "SwapFree."),
        gauge("hugepages_total", "HugePages_Total."),
        gauge("hugepages_free", "HugePages_Free."),
        gauge(
            "hardware_corrupted_bytes", "Memory the kernel took out of use after a hardware error."
        ),
    ),
)

VMSTAT = Table(
    "vmstat",
    "Counters of the virtual-memory system since boot (/proc/vmstat); NULL: not in this kernel.",
    (
        counter("oom_kill_count", "Processes killed by the OOM killer."),
        counter("pgfault_count", "Page faults."),
        counter("pgmajfault_count", "Major page faults."),
        counter("pswpin_count", "Pages swapped in."),
        counter("pswpout_count", "Pages swapped out."),
        counter("allocstall_count", "Direct reclaim stalls, all zones."),
        counter("pgscan_direct_count", "Pages scanned by direct reclaim."),
        counter("pgsteal_direct_count", "Pages reclaimed directly."),
        counter("compact_stall_count", "Direct compaction stalls."),
        counter("compact_fail_count", "Failed compactions."),
        counter("thp_fault_fallback_count", "Huge-page faults that fell back to small pages."),
        counter("workingset_refault_anon_count", "Anonymous pages that came back after reclaim."),
        counter("workingset_refault_file_count", "File pages that came back after reclaim."),
        counter("numa_hit_count", "Allocations on the wanted node."),
        counter("numa_miss_count", "Allocations on a node that was not wanted."),
        counter("numa_foreign_count", "Allocations wanted here and made elsewhere."),
        counter("numa_pages_migrated_count", "Pages migrated between nodes."),
    ),
)

PRESSURE = Table(
    "pressure",
    "Pressure stall information (PSI): the share of time in which tasks waited for a resource.",
    (
        label("resource", "cpu, memory, io or irq."),
        label("scope", "'host', or the path of a cgroup."),
        gauge(
            "some_avg10_percent", "Time in which at least one task waited, 10 s mean, %.", "DOUBLE"
        ),
        counter("some_total_us", "The same since boot, µs."),
        gauge("full_avg10_percent", "Time in which all tasks waited, 10 s mean, %.", "DOUBLE"),
        counter("full_total_us", "The same since boot, µs."),
    ),
)

NUMA = Table(
    "numa",
    "Memory of each NUMA node.",
    (
        label("node", "Number of the node.", "BIGINT"),
        gauge("total_bytes", "MemTotal of the node."),
        gauge("free_bytes", "MemFree of the node."),
        gauge("anonymous_bytes", "AnonPages of the node."),
        gauge("file_bytes", "FilePages of the node."),
        counter("numa_hit_count", "Allocations wanted and made here."),
        counter("numa_miss_count", "Allocations made here though wanted elsewhere."),
        counter("numa_foreign_count", "Allocations wanted here and made elsewhere."),
        counter("local_node_count", "Allocations made by a task of this node."),
        counter("other_node_count", "Allocations made by a task of another node."),
        gauge(
            "free_order9_count", "Free blocks of 2 MiB or larger: fragmentation (/proc/buddyinfo)."
        ),
    ),
)

DISK = Table(
    "disk",
    "Block devices, from /proc/diskstats; partitions are left out.",
    (
        label("device", "Kernel name."),
        counter("reads_count", "Reads completed."),
        counter("read_bytes", "Bytes read."),
        counter("read_ms", "Time spent reading, ms."),
        counter("writes_count", "Writes completed."),
        counter("written_bytes", "Bytes written."),
        counter("write_ms", "Time spent writing, ms."),
        gauge("in_flight", "Requests in flight."),
        counter("io_ms", "Time in which at least one request was in flight, ms."),
        counter("weighted_io_ms", "Sum over requests of their time in flight, ms."),
    ),
)

FILESYSTEM = Table(
    "filesystem",
    "How full each mounted file system is.",
    (
        label("mount", "Mount point."),
        text("device", "What is mounted."),
        text("type", "File-system type."),
        gauge("size_bytes", "Size."),
        gauge("free_bytes", "Free, root's reserve included."),
        gauge("available_bytes", "Free for ordinary users."),
        gauge("files_count", "Inodes; 0 where the type has no limit."),
        gauge("files_free_count", "Free inodes."),
        flag("read_only", "Mounted read-only now."),
    ),
)

NETWORK = Table(
    "network",
    "Network interfaces.",
    (
        label("interface", "Kernel name."),
        counter("received_bytes", "Bytes received."),
        counter("received_packets", "Packets received."),
        counter("receive_errors_count", "Bad packets received."),
        counter("receive_dropped_count", "Packets dropped on receipt."),
        counter("sent_bytes", "Bytes sent."),
        counter("sent_packets", "Packets sent."),
        counter("send_errors_count", "Packets not sent for an error."),
        counter("send_dropped_count", "Packets dropped on sending."),
        counter("carrier_changes_count", "Times the link went up or down."),
        flag("carrier", "Link is up; NULL: the interface is administratively down."),
        gauge("speed_mbit_per_s", "Negotiated speed, Mbit/s; NULL where the device has none."),
        gauge("mtu_bytes", "MTU."),
    ),
)

SERVICE = Table(
    "service",
    "Services that training depends on, of those installed here; a row at the start and on change.",
    (
        label("name", "nvidia-fabricmanager, nvidia-persistenced, slurmd, kubelet, …"),
        flag("running", "Whether a process of it is there."),
        gauge("pid", "Its process id; NULL: it does not run."),
        gauge("started_us", "Start of that process, µs since 1970 UTC."),
        text("process", "comm of that process."),
    ),
)

SOFTWARE = Table(
    "software",
    "Versions of drivers, firmware and of libraries that training processes have loaded; a row at"
    " the start and on change.",
    (
        label("kind", "driver, firmware, or library (mapped by a training process)."),
        label("name", "nvidia, mlx5_core, mlx5_0, bios, microcode, libnccl, libcudart, …"),
        label("path", "Where it was read: a file of the kernel, or the library's file."),
        text("version", "Version as written; NULL: the library's file name tells none."),
        gauge("processes_count", "Training processes that have the library mapped."),
    ),
)

SETTING = Table(
    "setting",
    "Settings of kernel and devices that decide how training runs; a row at the start and on"
    " change.",
    (
        label("name", "vm.swappiness, transparent_hugepage, iommu_groups, acs, mtu, …"),
        label("subject", "What it is about: '' for the host, an interface, a PCI address, a node."),
        text("value", "As written by the kernel; the choice in force where it lists several."),
    ),
)

KERNEL_LIMIT = Table(
    "kernel_limit",
    "What the kernel has of things that run out, each 10 s.",
    (
        label("resource", "open_files, or tasks (processes and threads)."),
        gauge("used_count", "In use, all users."),
        gauge("max_count", "How many there can be."),
    ),
)
