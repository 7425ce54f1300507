"""One rank of the training job: ``python -m trainwreck_tui.demo.job.train CONFIG``."""

from __future__ import annotations

import logging
import math
import os
import resource
import socket
import sys
import time
from pathlib import Path

import numpy as np

from trainwreck_tui.demo.job import checkpoint, config, fused
from trainwreck_tui.demo.job.config import Flaw, JobConfig
from trainwreck_tui.demo.job.loader import BATCH_SIZE, Loader
from trainwreck_tui.demo.job.model import Array, Model
from trainwreck_tui.demo.job.ring import Ring

LEARNING_RATE = 0.02
_WARMUP_STEPS = 20
_NON_FINITE_STEPS_ALLOWED = 3

log = logging.getLogger("train")


class Trainer:
    """Trains until the last step, or until something breaks."""

    def __init__(self, job: JobConfig, rank: int, ring: Ring) -> None:
        self.job, self.rank, self.ring = job, rank, ring
        self.model = Model(job.seed)
        self.loader = Loader(job, rank)
        self._leak = job.flaw("leak", rank)
        self._bad_pointer = job.flaw("bad_pointer", rank)
        self._history: list[Array] = []
        self._non_finite_steps = 0

    def run(self) -> None:
        """Every step of the job."""
        log.info(
            "training starts: world size %d, %d parameters, global batch size %d",
            self.job.workers,
            self.model.weights.size,
            self.job.workers * BATCH_SIZE,
        )
        for step in range(1, self.job.steps + 1):
            self._step(step)
            if self.rank == 0 and step % self.job.checkpoint_every == 0:
                self._save(step)
        log.info("training finished after %d steps", self.job.steps)

    def _step(self, step: int) -> None:
        started_s = time.monotonic()
        features, targets = self.loader.next()
        loss, gradient, activations = self.model.loss_and_gradient(features, targets)
        if self._leak and step >= self._leak.step:
            self._remember(activations[-1], self._leak)
        wild = self._bad_pointer and step >= self._bad_pointer.step
        gradient = fused.pack(gradient, 0x10 if wild else None)
        shared = np.append(gradient, np.float32(loss))
        self.ring.all_reduce(shared)
        shared /= np.float32(self.ring.world_size)
        loss, gradient = float(shared[-1]), shared[:-1]
        norm = float(np.sqrt(np.sum(gradient * gradient)))
        rate = LEARNING_RATE * min(1.0, step / _WARMUP_STEPS)
        step_time_s = time.monotonic() - started_s
        log.info(
            "[rank %d] step %d/%d | loss %.4f | grad_norm %.4f | lr %.3e | step_time %.3f s"
            " | tokens/s %d",
            self.rank, step, self.job.steps, loss, norm, rate, step_time_s,
            self.ring.world_size * BATCH_SIZE / step_time_s,
        )  # fmt: skip
        self._check_finite(step, loss, norm)
        self.model.update(gradient, rate)

    def _remember(self, activations: Array, leak: Flaw) -> None:
        """Keep activations for a histogram that nobody ever draws."""
        copies = max(1, leak.amount // activations.nbytes)
        self._history.append(np.tile(activations, (copies, 1)))

    def _check_finite(self, step: int, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            self._non_finite_steps = 0
            return
        self._non_finite_steps += 1
        log.warning("loss is %s and grad_norm is %s at step %d", loss, norm, step)
        if self._non_finite_steps >= _NON_FINITE_STEPS_ALLOWED:
            raise FloatingPointError(
                f"loss is {loss} at step {step}, {self._non_finite_steps} steps in a row without a"
                " finite value; stopping the run"
            )

    def _save(self, step: int) -> None:
        started_s = time.monotonic()
        folder = Path(self.job.checkpoint_folder)
        path = checkpoint.save(self.model, step, folder, self.job.checkpoints_kept)
        log.info("saved checkpoint %s in %.3f s", path, time.monotonic() - started_s)


class _UtcFormatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """RFC 3339 UTC with milliseconds."""
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{whole}.{int(record.msecs):03d}Z"


def log_to_stderr() -> None:
    """Log lines with a UTC time of day to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _limit(job: JobConfig, rank: int) -> None:
    if flaw := job.flaw("address_limit", rank):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit_bytes = pages * resource.getpagesize() + flaw.amount
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    if flaw := job.flaw("file_limit", rank):
        resource.setrlimit(resource.RLIMIT_FSIZE, (flaw.amount, flaw.amount))


def main() -> None:
    """Run the rank that the environment names."""
    log_to_stderr()
    job = config.read(Path(sys.argv[1]))
    env = os.environ
    rank = int(env["RANK"])
    _limit(job, rank)
    master = (env["MASTER_ADDR"], int(env["MASTER_PORT"]))
    fd = env.get("MASTER_LISTEN_FD")
    listener = socket.socket(fileno=int(fd)) if fd else None
    ring = Ring(rank, int(env["WORLD_SIZE"]), master, job.collective_timeout_s, listener)
    Trainer(job, rank, ring).run()


if __name__ == "__main__":
    main()
