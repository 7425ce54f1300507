"""The devices that the driver shows, from the first look until the driver goes away."""

from __future__ import annotations

import time

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml import slow
from trainwreck_agent.nvml.device import Gpu
from trainwreck_agent.nvml.events import Events
from trainwreck_agent.nvml.library import ATTACH_DEADLINE_S, CallFailed, DeviceGone, Library
from trainwreck_agent.nvml.progress import NO_DEVICE
from trainwreck_agent.nvml.wire import Cells, Device
from trainwreck_agent.tables.events import COLLECTOR_HEALTH
from trainwreck_agent.tables.gpu import GPU_EVENT, GPU_INVENTORY

NAME = "nvml"
COUNT_EVERY_S = 5.0
HEALTH_EVERY_S = 60.0
RENEW_S = 600.0
"""A session in which a device stays lost is begun anew after this: NVML lists them only once."""
SLOW_CALLS = 2
"""With the 9 calls of each tick and the one for events that is 12, on a one-GPU host too."""

ONCE = (GPU_EVENT, GPU_INVENTORY, COLLECTOR_HEALTH)
KEPT_MAX = 1000


class Renew(Exception):
    """The session should be begun anew, in a new child."""


class Session:
    """All devices, and what is told about them as a whole.

    ``known`` are the devices of the session before, so that a change is seen across children.
    """

    def __init__(self, library: Library, known: tuple[Device, ...]) -> None:
        self._library = library
        self._known = {device.index: device for device in known}
        self._events = Events(library)
        self._gpus: list[Gpu] = []
        self._count_due_s = 0.0
        self._renew_at_s: float | None = None
        self._health_due_s = 0.0
        self.rows: list[Cells] = []
        """Rows that wait to be sent with the next tick."""
        self.changed = True
        """Whether the devices are others than were last told."""
        self.reads = 0
        self.failures = 0
        self.lost = 0
        self._unsent = 0
        self._read_us = 0
        self._read_max_us = 0

    @property
    def gpus(self) -> list[Gpu]:
        """What is there, by index."""
        return self._gpus

    @property
    def wanted(self) -> int:
        """Bit set of the devices whose last minute the recorder wants."""
        return self._library.progress.wanted

    @property
    def devices(self) -> list[Device]:
        """Identities of what is there."""
        return [gpu.identity for gpu in self._gpus]

    def begin(self) -> None:
        """Look for devices and read each once.

        Raises:
            DriverGone: The driver went away meanwhile.
        """
        now_s = time.monotonic()
        self._gpus = [self._open(index, now_s) for index in range(self._count())]
        self._compare(list(self._known.values()))

    def _count(self) -> int:
        try:
            return int(self._library.call("nvmlDeviceGetCount", NO_DEVICE))
        except CallFailed as error:
            self.fault(str(error))
            return len(self._gpus)

    def _open(self, index: int, now_s: float) -> Gpu:
        """The device at ``index``: read, or with the reason why it cannot be."""
        known = self._known.get(index, Device(index, None, None, None, None))
        if self._library.progress.left_out >> index & 1:
            return Gpu(self._library, known, None, "hang")
        name = "nvmlDeviceGetHandleByIndex"
        try:
            handle = self._library.call(name, index, index, deadline_s=ATTACH_DEADLINE_S)
            identity = self._identity(index, handle)
        except DeviceGone as gone:
            return Gpu(self._library, known, None, gone.status)
        except CallFailed as error:
            self.fault(f"GPU {index}: {error}")
            return Gpu(self._library, known, None, "not opened")
        gpu = Gpu(self._library, identity, handle, "ok")
        self._attach(gpu, now_s, handle)
        return gpu

    def _identity(self, index: int, handle: object) -> Device:
        def ask(name: str) -> object:
            try:
                return self._library.call(name, index, handle)
            except CallFailed:
                return None

        pci = ask("nvmlDeviceGetPciInfo")
        words = [ask(f"nvmlDeviceGet{what}") for what in ("UUID", "Serial", "Name")]
        uuid, serial, name = (None if word is None else str(word) for word in words)
        return Device(index, uuid, serial, None if pci is None else pci_address(pci), name)

    def _attach(self, gpu: Gpu, now_s: float, handle: object) -> None:
        try:
            self._events.watch(gpu.identity.index, handle, gpu.identity.uuid)
        except DeviceGone as gone:
            gpu.go(gone.status, now_s)
            return
        self.rows += gpu.begin(now_s, handle, slow.tasks)
        if gpu.status == "ok":
            self.rows += slow.inventory_row(gpu)

    # -- each tick ----------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[Cells]:
        """The rows of this tick.

        Raises:
            DriverGone: The driver was unloaded.
            Renew: The session should be begun anew.
        """
        found, self.rows = self.rows, []
        started_ns = time.perf_counter_ns()
        counting = now_s >= self._count_due_s
        if counting:
            self._count_due_s = now_s + COUNT_EVERY_S
            if (count := self._count()) != len(self._gpus):
                self._enumerate(count, now_s)
        left_out = self._library.progress.left_out
        for index, gpu in enumerate(self._gpus):
            self._turn(gpu, bool(left_out >> index & 1), now_s)
            found += gpu.tick(now_s, SLOW_CALLS - (counting and index == 0))
            for fault in gpu.faults:
                self.fault(fault)
            gpu.faults.clear()
        found += self._events.take()
        self.reads += 1
        self._read_us = (time.perf_counter_ns() - started_ns) // 1000
        self._read_max_us = max(self._read_max_us, self._read_us)
        self._renew(now_s)
        found += self.rows
        self.rows = []
        if now_s >= self._health_due_s:
            self._health_due_s = now_s + HEALTH_EVERY_S
            found.append(self._health("ok", None))
            self._read_max_us = 0
        return found

    def _turn(self, gpu: Gpu, left_out: bool, now_s: float) -> None:
        """Let a device come back that was left out or lost."""
        before = gpu.status
        if left_out:
            return
        if before == "hang":
            self._replace(gpu, now_s)
        elif before != "ok" and gpu.ping(now_s):
            self._attach(gpu, now_s, gpu.handle)
            if gpu.status == "ok":
                self._tell("ok", f"{gpu.identity.title} answers again; it was {before}")

    def _replace(self, gpu: Gpu, now_s: float) -> None:
        index = gpu.identity.index
        self._known[index] = gpu.identity
        self._gpus[index] = self._open(index, now_s)
        self._tell("ok", f"{gpu.identity.title} is read again after a hang")
        self.changed = True

    def _enumerate(self, count: int, now_s: float) -> None:
        """The driver shows another number of devices: look anew at all of them."""
        before = self.devices
        for gpu in self._gpus:
            gpu.close()
        self._events.close()
        self._events = Events(self._library)
        self._known = {device.index: device for device in before}
        self._gpus = [self._open(index, now_s) for index in range(count)]
        self._compare(before)

    def _compare(self, before: list[Device]) -> None:
        """Tell which devices went and which came."""
        self.changed = True
        now = {gpu.identity.uuid or gpu.identity.title for gpu in self._gpus}
        old = {device.uuid or device.title for device in before}
        for device in before:
            if (device.uuid or device.title) not in now:
                self._tell("lost", f"{device.title} is no longer shown by the driver")
        for device in self.devices:
            if old and (device.uuid or device.title) not in old:
                self._tell("ok", f"{device.title} is new among the devices of the driver")

    def _renew(self, now_s: float) -> None:
        troubled = [gpu for gpu in self._gpus if gpu.status not in ("ok", "hang")]
        for gpu in troubled:
            if gpu.told != gpu.status:
                self._tell("lost", f"{gpu.identity.title}: {gpu.status}")
        for gpu in self._gpus:
            gpu.told = gpu.status
        if not troubled:
            self._renew_at_s = None
        elif self._renew_at_s is None:
            self._renew_at_s = now_s + RENEW_S
        elif now_s >= self._renew_at_s:
            raise Renew

    # -- health -------------------------------------------------------------------------------

    def fault(self, detail: str) -> None:
        """Take down a failed call."""
        self.failures += 1
        self._tell("error", detail)

    def missed(self, ticks: int) -> None:
        """Take down ticks that came too late to be read."""
        self.lost += ticks
        took = self._read_us / 1000
        self._tell("slow", f"{ticks} ticks missed: the read before took {took:.0f} ms")

    def unsent(self, rows: list[Cells]) -> None:
        """Take down a tick that found the pipe full; what is said only once is kept for later."""
        self.lost += 1
        self._unsent += 1
        kept = [row for row in rows if row[0] in ONCE]
        self.rows = (kept + self.rows)[:KEPT_MAX]

    def sent(self) -> None:
        """The tick is on its way; tell, with the next one, how many before it were not."""
        if self._unsent:
            self._tell("lost", f"{self._unsent} ticks not sent: the recorder did not read them")
            self._unsent = 0

    def _tell(self, status: str, detail: str) -> None:
        self.rows.append(self._health(status, detail))

    def _health(self, status: str, detail: str | None) -> Cells:
        failures = self.failures + sum(gpu.failures for gpu in self._gpus)
        values: list[Value] = [
            *(NAME, status, detail),
            *(self.reads, failures, self.lost, self._read_us, self._read_max_us),
        ]
        return (COLLECTOR_HEALTH, values)


def pci_address(info: object) -> str:
    """``0000:1b:00.0`` as the kernel writes it, from NVML's ``00000000:1B:00.0``."""
    bus_id = info.busId  # type: ignore[attr-defined]
    text = bus_id.decode("ascii", "replace") if isinstance(bus_id, bytes) else str(bus_id)
    domain, _, rest = text.partition(":")
    return f"{domain[-4:] if domain[:-4].strip('0') == '' else domain}:{rest}".lower()
