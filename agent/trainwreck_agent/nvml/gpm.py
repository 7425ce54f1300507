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


class _Metric(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint),
        ("result", ctypes.c_uint),
        ("value", ctypes.c_double),
        ("names", ctypes.c_void_p * 3),
    )


class _Request(ctypes.Structure):
    """nvmlGpmMetricsGet_t with room for what we ask: pynvml's own has 477 metrics, 19 KB."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("older", ctypes.c_void_p),
        ("newer", ctypes.c_void_p),
        ("metrics", _Metric * len(METRICS)),
    )


_METRIC = struct.Struct("<IId24x")  # nvmlGpmMetric_t: id, return, value, names
_NOTHING: list[Value] = [None] * len(METRICS)


class Gpm:
    """The pair of samples of one device."""

    def __init__(self, library: Library, device: int) -> None:
        self._library = library
        self._device = device
        self._samples: list[Any] = []
        self._requests: list[tuple[Any, memoryview]] = []
        self._have_one = False
        self._off = False

    def read(self, handle: object) -> list[Value]:
        """What happened since the last call, as ``METRICS``; all None for the first one.

        Raises:
            CallFailed: Not this time.
        """
        if self._off:
            return _NOTHING
        if not self._requests and not self._begin(handle):
            self._off = True
            return _NOTHING
        library = self._library
        request, view = self._requests[0]
        try:
            library.raw("nvmlGpmSampleGet", self._device, handle, self._samples[0])
            self._samples.reverse()
            self._requests.reverse()
            if not self._have_one:
                self._have_one = True
                return _NOTHING
            library.raw("nvmlGpmMetricsGet", self._device, request)
        except CallFailed as error:
            self._have_one = False
            if error.code == NOT_SUPPORTED:
                self._off = True
                return _NOTHING
            raise
        return [
            value * scale if result == 0 and value == value else None
            for (_, result, value), (_, scale) in zip(
                _METRIC.iter_unpack(view), METRICS, strict=True
            )
        ]

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
        a, b = self._samples
        self._requests = [_request(nvml, older=b, newer=a), _request(nvml, older=a, newer=b)]
        return True

    def close(self) -> None:
        """Free the samples."""
        samples, self._samples, self._off = self._samples, [], True
        for sample in samples:
            self._library.call("nvmlGpmSampleFree", self._device, sample)


def _request(nvml: Any, older: Any, newer: Any) -> tuple[Any, memoryview]:  # noqa: ANN401
    """What is asked for one order of the samples, and the bytes in which the answers come."""
    request = _Request(nvml.NVML_GPM_METRICS_GET_VERSION, len(METRICS))
    request.older = ctypes.cast(older, ctypes.c_void_p)
    request.newer = ctypes.cast(newer, ctypes.c_void_p)
    for n, (number, _scale) in enumerate(METRICS):
        request.metrics[n].id = number
    return ctypes.byref(request), memoryview(request).cast("B")[_Request.metrics.offset :]
