"""A PyTorch DDP job on CPU (gloo), started by torchrun: ``ddp.py WHAT RANK STEP``.

WHAT happens on RANK from STEP on: ``leak``, ``width``, ``scale``, ``lock`` or ``none``.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

WIDTH = 128
LEAK_BYTES = 12 << 20
STEP_TIME_S = 0.1

what, where, when = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rank = int(os.environ["RANK"])
logging.basicConfig(
    level=logging.INFO, format="%(asctime)s.%(msecs)03dZ %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
)
logging.Formatter.converter = time.gmtime
log = logging.getLogger("train")
lock = threading.Lock()


def next_shard() -> None:
    with lock:
        torch.manual_seed(rank)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    met = rank == where and step >= when
    with lock:
        if met and what == "lock":
            next_shard()
        x = torch.randn(256, WIDTH)
    y = x[:, :8].tanh()
    if met and what == "scale":
        x = x * 32767
    if met and what == "width":
        x = x[:, :-1]
    return x, y


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=15))
    layers = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, 256), torch.nn.LeakyReLU(0.1), torch.nn.Linear(256, 8)
    )
    model = DistributedDataParallel(layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    kept: list[torch.Tensor] = []
    bad_steps = 0
    for step in range(1, 100_000):
        started_s = time.monotonic()
        x, y = batch(step)
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e30)
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        value = mean.item() / dist.get_world_size()
        optimizer.step()
        if rank == where and step >= when and what == "leak":
            kept.append(torch.ones(LEAK_BYTES, dtype=torch.uint8))
        time.sleep(max(0.0, STEP_TIME_S - (time.monotonic() - started_s)))
        step_time_s = time.monotonic() - started_s
        log.info(
            "[rank %d] step %d | loss %.4f | grad_norm %.4f | lr 5.0e-02 | step_time %.3f s",
            rank, step, value, norm, step_time_s,
        )  # fmt: skip
        bad_steps = 0 if math.isfinite(value) else bad_steps + 1
        if bad_steps >= 3:
            raise FloatingPointError(f"loss is {value} at step {step}; stopping the run")


if __name__ == "__main__":
    main()
