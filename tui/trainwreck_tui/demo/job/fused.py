"""The optimiser's update through native code: the C library's ``memcpy`` on raw pointers."""

from __future__ import annotations

import ctypes

from trainwreck_tui.demo.job.model import Array

_libc = ctypes.CDLL(None)
_libc.memcpy.restype = ctypes.c_void_p
_libc.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def pack(gradient: Array, scratch_address: int | None = None) -> Array:
    """A copy of the gradient, made at ``scratch_address`` where one is given."""
    packed = gradient.copy()
    target = packed.ctypes.data if scratch_address is None else scratch_address
    _libc.memcpy(target, gradient.ctypes.data, gradient.nbytes)
    return packed
