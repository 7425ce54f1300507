"""Tables of processes: who runs, who ended and how, where it stood."""

from trainwreck_agent.schema import Table, counter, flag, gauge, label, text

PROCESS = Table(
    "process",
    "Training processes and their children every tick; others when they are large, busy or stuck.",
    (
        label("pid", "Process id.", "BIGINT"),
        label(
            "started_us", "Start, µs since 1970 UTC: with pid the identity of a process.", "BIGINT"
        ),
        gauge("parent_pid", "Parent's process id."),
        text("name", "comm, at most 15 characters."),
        text("command", "Command line, secrets redacted, at most 512 characters."),
        text("role", "training, child (of a training process), or other."),
        gauge("rank", "RANK or its like; NULL: not a rank."),
        gauge("local_rank", "LOCAL_RANK or its like."),
        gauge("world_size", "WORLD_SIZE or its like."),
        text("job", "Identity of the job: SLURM_JOB_ID, TORCHELASTIC_RUN_ID, …"),
        text("state", "R, S, D, Z, T …: as in /proc/PID/stat."),
        text("wait_channel", "Kernel function a D-state task waits in; NULL otherwise."),
        gauge("threads_count", "Threads."),
        gauge("rss_bytes", "Resident memory."),
        counter("user_ticks", "Time in user space, USER_HZ ticks."),
        counter("system_ticks", "Time in the kernel, ticks."),
        counter("major_faults_count", "Major page faults."),
        gauge("last_core", "Processor it last ran on."),
        gauge("open_files_count", "Open descriptors; training processes only, slower pace."),
        text("cgroup", "Path of its memory cgroup."),
        gauge("cgroup_memory_bytes", "Memory of that cgroup; NULL at the root."),
        gauge("cgroup_memory_max_bytes", "Its limit; NULL: none."),
        counter("cgroup_oom_kill_count", "OOM kills in that cgroup."),
        counter("cgroup_throttled_us", "Time its CPU quota held it back, µs."),
    ),
)

PROCESS_EXIT = Table(
    "process_exit",
    "Ends of processes: training processes and their children always, others if they failed.",
    (
        label("pid", "Process id.", "BIGINT"),
        gauge("parent_pid", "Parent's process id; NULL where it was not known."),
        gauge("started_us", "Start, µs since 1970 UTC; NULL where it was not known."),
        text("name", "comm; NULL where the process lived too shortly to be seen."),
        text("command", "Command line, secrets redacted."),
        text("role", "training, child or other."),
        gauge("rank", "Its rank; NULL: none known."),
        gauge("world_size", "Its world size."),
        text("job", "Identity of the job."),
        gauge("exit_code", "Code passed to exit(); NULL if a signal ended it or nobody told."),
        gauge("signal", "Number of the signal that ended it; NULL if none or nobody told."),
        flag("core_dumped", "The kernel wrote a core."),
        text("source", "connector: the kernel told; poll: it was there and then was not."),
        gauge("last_rss_bytes", "Resident memory when it was last seen."),
        text("cgroup", "Path of its memory cgroup when it was last seen."),
    ),
)

STACK = Table(
    "stack",
    "Stacks of processes, taken when something was wrong or when asked.",
    (
        label("pid", "Process id.", "BIGINT"),
        text("name", "comm."),
        gauge("rank", "Its rank; NULL: none known."),
        text("reason", "Why the stack was taken."),
        text("tool", "py-spy, or kernel (/proc/PID/stack)."),
        text("text", "The stack, innermost frame first."),
    ),
)

CGROUP = Table(
    "cgroup",
    "Control groups of training processes, each 5 s; their pressure is in the view pressure.",
    (
        label("path", "Version and path, as in process.cgroup: v2:/job or v1:/job."),
        gauge("processes_count", "Training processes and their children in it."),
        gauge("memory_bytes", "Memory charged to it now."),
        gauge("memory_peak_bytes", "The most that was ever charged; NULL: this kernel keeps none."),
        gauge("memory_high_bytes", "Where reclaim begins (v2); NULL: no such limit."),
        gauge("memory_max_bytes", "The hard limit; NULL: none."),
        gauge("swap_bytes", "Swap charged to it."),
        gauge("anonymous_bytes", "Anonymous memory."),
        gauge("file_bytes", "Page cache, tmpfs included."),
        gauge("shmem_bytes", "Shared memory and tmpfs."),
        gauge("kernel_bytes", "Memory of the kernel for it: stacks, page tables, slab."),
        gauge("sock_bytes", "Buffers of network sockets."),
        gauge("dirty_bytes", "Page cache that waits to be written."),
        counter("high_count", "Times it was slowed down at memory.high (v2)."),
        counter("max_count", "Times it ran into the hard limit."),
        counter("oom_count", "Times the limit could not be kept by reclaim (v2)."),
        counter("oom_kill_count", "Processes killed for it."),
        counter("major_faults_count", "Major page faults."),
        counter("cpu_us", "Processor time, µs."),
        counter("periods_count", "Periods of its CPU quota; NULL: none set or not told."),
        counter("throttled_count", "Periods in which the quota ran out."),
        counter("throttled_us", "Time it was held back, µs."),
        counter("read_bytes", "Bytes read from block devices."),
        counter("written_bytes", "Bytes written to block devices."),
        counter("reads_count", "Read requests."),
        counter("writes_count", "Write requests."),
        gauge("tasks_count", "Processes and threads in it."),
        gauge("tasks_max_count", "How many it may have; NULL: no limit."),
    ),
)

PROCESS_DETAIL = Table(
    "process_detail",
    "Training processes each 30 s: what costs too much to read each tick.",
    (
        label("pid", "Process id.", "BIGINT"),
        label(
            "started_us", "Start, µs since 1970 UTC: with pid the identity of a process.", "BIGINT"
        ),
        gauge("rank", "Its rank; NULL: none known."),
        gauge("pinned_bytes", "VmPin: pages that cannot move, as for RDMA and CUDA."),
        gauge("locked_bytes", "VmLck: pages locked by mlock()."),
        gauge("peak_rss_bytes", "VmHWM: the most that was ever resident."),
        gauge("swap_bytes", "VmSwap: swapped out."),
        gauge("shmem_bytes", "RssShmem: resident shared memory."),
        counter("voluntary_switches_count", "Switches because it waited; first thread only."),
        counter("involuntary_switches_count", "Switches because its time was up; likewise."),
        counter("run_delay_ns", "Time it could run and had no processor, ns; first thread only."),
        counter("read_bytes", "Bytes fetched from storage."),
        counter("written_bytes", "Bytes sent to storage."),
        gauge("oom_score", "The OOM killer's score, 0 … 2000: the highest is killed first."),
        gauge("oom_score_adjustment", "oom_score_adj, −1000 … 1000."),
        gauge("open_files_max_count", "Soft limit of open descriptors; NULL: unlimited."),
        gauge("locked_max_bytes", "Soft limit of locked memory; NULL: unlimited."),
        gauge("core_max_bytes", "Soft limit of a core's size, 0: none; NULL: unlimited."),
        gauge("stack_max_bytes", "Soft limit of the stack; NULL: unlimited."),
        gauge("processes_max_count", "Soft limit of the user's processes; NULL: unlimited."),
        text("allowed_cores", "Processors that it may run on, e.g. 0-31."),
        text("allowed_nodes", "NUMA nodes that it may take memory of."),
    ),
)
