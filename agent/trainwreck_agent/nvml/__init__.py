"""GPU telemetry through NVML, in a child process of its own.

A call into NVML may never return when a GPU dies, and a process that is killed inside one has
frozen a GPU. So the sampling process never calls NVML: a forked child does, marks each call in
shared memory before it makes it, and is given up, not killed, when a call passes its deadline.

    worker.py    the sampling process' side: what becomes of a child, and when a new one starts
    process.py   one child as that side has it: fork, pipe, signals, reaping
    wire.py      lines on the pipe
    progress.py  the shared memory that tells which call the child is in
    child.py     the child: clock, pipe, signals
    session.py   the devices that the driver shows, and what became of them
    device.py    one GPU: what is read each tick
    slow.py      one GPU: what is read more seldom
    burst.py     the last minute at a quick pace, written when something happens
    fields.py    NVML field ids and the columns that they fill
    inventory.py what a GPU is; read seldom
    nvlink.py gpm.py events.py   parts with a way of their own
    library.py   pynvml with a chosen library; each call marked, its error as a value
"""

from trainwreck_agent.nvml.worker import NvmlWorker

__all__ = ["NvmlWorker"]
