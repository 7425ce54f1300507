"""Activity of SMs, tensor cores, memory and links by GPM, on Hopper and later.

Two samples of the device's counters are kept; what happened between them is computed by the
library. The device allows it to one profiler at a time.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlGpmFunctions.html
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml.library import NOT_SUPPORTED, CallFailed, Library

MIB = float(1 << 20)
METRICS = ((2, 1.0), (3, 1.0), (5, 1.0), (10, 1.0), (20, MIB), (21, MIB), (60, MIB), (61, MIB))
"""GPM metric and what its value is multiplied by, in the order of the columns."""

_METRIC = struct.Struct("<IId24x")  # nvmlGpmMetric_t: id, return, value, names
_NOTHING: tuple[Value, ...] = (None,) * len(METRICS)


class Gpm:
    """The pair of samples of one device."""

    def __init__(self, library: Library, device: int) -> None:
        self._library = library
        self._device = device
        self._samples: list[Any] = []
        self._wanted: Any = None
        self._have_one = False
        self._off = False

    def read(self, handle: object) -> tuple[Value, ...]:
        """What happened since the last call, as ``METRICS``; all None for the first one.

        Raises:
            CallFailed: Not this time.
        """
        if self._off:
            return _NOTHING
        if self._wanted is None and not self._begin(handle):
            self._off = True
            return _NOTHING
        library, wanted = self._library, self._wanted
        old, new = self._samples
        try:
            library.call("nvmlGpmSampleGet", self._device, handle, new)
            self._samples = [new, old]
            if not self._have_one:
                self._have_one = True
                return _NOTHING
            wanted.sample1, wanted.sample2 = old, new
            library.call("nvmlGpmMetricsGet", self._device, wanted)
        except CallFailed as error:
            self._have_one = False
            if error.code == NOT_SUPPORTED:
                self._off = True
                return _NOTHING
            raise
        return tuple(
            value * scale if result == 0 and value == value else None
            for (_, result, value), (_, scale) in zip(
                _METRIC.iter_unpack(self._view), METRICS, strict=True
            )
        )

    def _begin(self, handle: object) -> bool:
        """Whether the device has GPM; its samples are made then."""
        library, nvml = self._library, self._library.nvml
        try:
            if not library.call(
                "nvmlGpmQueryDeviceSupport", self._device, handle
            ).isSupportedDevice:
                return False
            self._samples = [library.call("nvmlGpmSampleAlloc", self._device) for _ in range(2)]
        except CallFailed:
            return False
        self._wanted = nvml.c_nvmlGpmMetricsGet_t()
        self._wanted.version = nvml.NVML_GPM_METRICS_GET_VERSION
        self._wanted.numMetrics = len(METRICS)
        for n, (number, _scale) in enumerate(METRICS):
            self._wanted.metrics[n].metricId = number
        begin = nvml.c_nvmlGpmMetricsGet_t.metrics.offset
        everything = memoryview(self._wanted).cast("B")
        self._view = everything[
            begin : begin + ctypes.sizeof(nvml.c_nvmlGpmMetric_t) * len(METRICS)
        ]
        return True

    def close(self) -> None:
        """Free the samples."""
        samples, self._samples, self._off = self._samples, [], True
        for sample in samples:
            self._library.call("nvmlGpmSampleFree", self._device, sample)
