"""Batches made by a thread of their own, two ahead of the training."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np

from trainwreck_tui.demo.job.config import JobConfig
from trainwreck_tui.demo.job.model import INPUT_WIDTH, OUTPUT_WIDTH, Array

BATCH_SIZE = 256
_RECORDS = 4096


class Shard:
    """A part of the data set: records whose target a fixed linear teacher with noise gives."""

    def __init__(self, seed: int, rank: int) -> None:
        teacher = np.random.default_rng(seed).normal(0, 0.3, (INPUT_WIDTH, OUTPUT_WIDTH))
        rng = np.random.default_rng((seed, rank))
        features = rng.normal(0, 1, (_RECORDS, INPUT_WIDTH))
        noise = rng.normal(0, 0.1, (_RECORDS, OUTPUT_WIDTH))
        self.features: Array = features.astype(np.float32)
        self.targets: Array = (np.tanh(features @ teacher) + noise).astype(np.float32)


class Loader:
    """Feeds one rank. ``next`` waits until the thread has a batch ready."""

    def __init__(self, config: JobConfig, rank: int) -> None:
        self._shard = Shard(config.seed, rank)
        self._rng = np.random.default_rng((config.seed, rank, 1))
        self._step_time_s = config.step_time_s
        self._order = self._rng.permutation(_RECORDS)
        self._lock = threading.Lock()
        self._ready: queue.Queue[tuple[Array, Array]] = queue.Queue(maxsize=2)
        self._unscaled = config.flaw("bad_scale", rank)
        self._short = config.flaw("bad_width", rank)
        self._shard_ends = config.flaw("lock_reentry", rank)
        threading.Thread(target=self._fill, name="loader", daemon=True).start()

    def next(self) -> tuple[Array, Array]:
        """Features ``(batch, 128)`` and targets ``(batch, 64)``."""
        return self._ready.get()

    def _fill(self) -> None:
        step, due_s = 0, time.monotonic()
        while True:
            step += 1
            batch = self._read_batch(step)
            due_s = max(due_s + self._step_time_s, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._ready.put(batch)

    def _read_batch(self, step: int) -> tuple[Array, Array]:
        with self._lock:
            if self._shard_ends and step >= self._shard_ends.step:
                self._open_next_shard()
            chosen = self._rng.choice(self._order, BATCH_SIZE)
        features, targets = self._shard.features[chosen], self._shard.targets[chosen]
        if self._unscaled and step >= self._unscaled.step:
            # A shard that was written before normalisation: raw 16-bit integers.
            features = features * np.float32(32767)
        if self._short and step >= self._short.step:
            # A shard of an older version of the data set, one column narrower.
            features = features[:, :-1]
        return features, targets

    def _open_next_shard(self) -> None:
        with self._lock:
            self._order = self._rng.permutation(_RECORDS)
