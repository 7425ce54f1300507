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
