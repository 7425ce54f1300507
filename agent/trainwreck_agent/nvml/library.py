"""pynvml with a chosen library, each call marked in shared memory and its error told as a value.

Only the child imports this module's pynvml; the sampling process never does.

Source: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from trainwreck_agent.nvml.progress import NO_DEVICE, Progress

DEFAULT_LIBRARY = "libnvidia-ml.so.1"
INIT_DEADLINE_S = 60.0
"""Without persistence mode the first client waits until the driver has started each GPU."""
ATTACH_DEADLINE_S = 20.0

NOT_SUPPORTED = 3
_INVALID_ARGUMENT, _NO_PERMISSION, _FUNCTION_NOT_FOUND = 2, 4, 13
_VERSION_MISMATCH, _DEPRECATED = 25, 26
REMEMBERED = frozenset(
    {
        NOT_SUPPORTED,
        _INVALID_ARGUMENT,
        _NO_PERMISSION,
        _FUNCTION_NOT_FOUND,
        _VERSION_MISMATCH,
        _DEPRECATED,
    }
)
"""Answers that will not change while the driver runs: the question is not asked again."""

UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND = 1, 9, 12
GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH, GPU_NOT_FOUND = 15, 16, 18, 28
TIMEOUT = 10
DRIVER_GONE = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, VERSION_MISMATCH})
DEVICE_GONE = {
    GPU_IS_LOST: "lost",
    RESET_REQUIRED: "reset required",
    GPU_NOT_FOUND: "not found",
}

Bound = tuple[Callable[..., Any], int]
"""A function and its number in shared memory."""
Planned = tuple[str, Callable[..., Any], int, tuple[object, ...]]
"""Name, function, its number in shared memory, and arguments of a call that is made often."""


class DriverGone(Exception):
    """The driver was unloaded, or replaced under us: the session is over."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class DeviceGone(Exception):
    """The device no longer answers; ``status`` is how the ``gpu`` table says it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class CallFailed(Exception):
    """A call failed in a way that may pass."""

    def __init__(self, name: str, code: int, detail: str) -> None:
        super().__init__(f"{name}: {detail} ({code})")
        self.code = code


class Library:
    """NVML, loaded and started.

    Raises:
        DriverGone: The library is not there or the driver is not loaded; ``detail`` says which.
    """

    def __init__(self, path: str | None, progress: Progress, deadline_s: float) -> None:
        import pynvml

        self.nvml: Any = pynvml
        self.progress = progress
        self._enter, self._leave = progress.enter, progress.leave
        self._deadline_ns = round(deadline_s * 1e9)
        self._error: type[Any] = pynvml.NVMLError
        self._bound: dict[str, Bound] = {}
        self._bound_raw: dict[str, Bound] = {}
        self._load(path or DEFAULT_LIBRARY)
        try:
            self.call("nvmlInit", NO_DEVICE, deadline_s=INIT_DEADLINE_S)
        except CallFailed as error:
            raise DriverGone(error.code, str(error)) from error

    def _load(self, path: str) -> None:
        """Put the library where pynvml keeps it, as pynvml does itself for the default name."""
        try:
            with self.nvml.libLoadLock:
                self.nvml.nvmlLib = ctypes.CDLL(path)
        except OSError as error:
            if path == DEFAULT_LIBRARY and "No such file" in str(error):
                reason = f"{path} not found: no NVIDIA driver on this host"
            else:
                reason = f"{path} cannot be loaded: {error}"
            raise DriverGone(LIBRARY_NOT_FOUND, reason) from error

    def error(self, code: int) -> str:
        """NVML's words for a return code."""
        return str(self.nvml.NVMLError(code))

    def call(
        self, name: str, device: int, *arguments: object, deadline_s: float | None = None
    ) -> Any:  # noqa: ANN401 — whatever pynvml gives for this function
        """What pynvml's function ``name`` returns; ``device`` is the index that it is about.

        Raises:
            DriverGone, DeviceGone, CallFailed: What the return code says.
        """
        function, code = self._bound.get(name) or self._bind(name)
        deadline_ns = self._deadline_ns if deadline_s is None else round(deadline_s * 1e9)
        self._enter(code, device, deadline_ns, monotonic_ns())
        try:
            return function(*arguments)
        except self._error as error:
            raise self.fault(name, error.value) from None
        finally:
            self._leave()

    def raw(self, name: str, device: int, *arguments: object) -> None:
        """Call the C function ``name`` itself, where pynvml's own way is dearer.

        Raises:
            DriverGone, DeviceGone, CallFailed: What the return code says.
        """
        function, code = self._bound_raw.get(name) or self._bind_raw(name)
        self._enter(code, device, self._deadline_ns, monotonic_ns())
        result = function(*arguments)
        self._leave()
        if result:
            raise self.fault(name, result)

    def raw_all(self, device: int, planned: list[Planned]) -> list[tuple[str, int]]:
        """Make these C calls about one device; name and return code of those that failed."""
        enter, deadline_ns = self._enter, self._deadline_ns
        failed: list[tuple[str, int]] = []
        for name, function, code, arguments in planned:
            enter(code, device, deadline_ns, monotonic_ns())
            if result := function(*arguments):
                failed.append((name, result))
        self._leave()
        return failed

    def bound(self, name: str) -> Bound:
        """The C function ``name``, to be planned.

        Raises:
            CallFailed: It is not in this driver's library.
        """
        return self._bound_raw.get(name) or self._bind_raw(name)

    def _bind(self, name: str) -> Bound:
        function = getattr(self.nvml, name, None)
        if function is None:
            raise CallFailed(name, _FUNCTION_NOT_FOUND, "not in this version of nvidia-ml-py")
        return self._bound.setdefault(name, (function, self.progress.code(name)))

    def _bind_raw(self, name: str) -> Bound:
        function = getattr(self.nvml.nvmlLib, name, None)
        if function is None:
            raise CallFailed(name, _FUNCTION_NOT_FOUND, "not in this driver's library")
        return self._bound_raw.setdefault(name, (function, self.progress.code(name)))

    def fault(self, name: str, code: int) -> DriverGone | DeviceGone | CallFailed:
        """The exception that stands for a return code."""
        if code in DRIVER_GONE:
            return DriverGone(code, f"{name}: {self.error(code)}")
        if code in DEVICE_GONE:
            return DeviceGone(DEVICE_GONE[code])
        return CallFailed(name, code, self.error(code))
