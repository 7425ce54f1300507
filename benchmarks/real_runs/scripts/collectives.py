"""Reduce gradients by hand on several ranks (gloo)."""

import argparse
import logging
import os
import threading
from datetime import timedelta

import torch
import torch.distributed as dist

parser = argparse.ArgumentParser()
parser.add_argument("--timeout", type=int, default=30)
parser.add_argument("--differ", default="")
parser.add_argument("--steps", type=int, default=60)
opt = parser.parse_args()
rank = int(os.environ["RANK"])
logging.basicConfig(
    level=logging.INFO, format=f"%(asctime)s [rank{rank}] %(levelname)s: %(message)s"
)
log = logging.getLogger("train")
lock = threading.Lock()


def refresh_statistics():
    with lock:
        return torch.zeros(8)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group("gloo", timeout=timedelta(seconds=opt.timeout))
    model = torch.nn.Linear(16, 8)
    for step in range(1, opt.steps + 1):
        x = torch.randn(32, 16)
        loss = (model(x) - x[:, :8]).square().mean()
        loss.backward()
        odd = rank == 1 and step == 23
        if odd and opt.differ == "stuck":
            with lock:
                refresh_statistics()
        if odd and opt.differ == "exit":
            os._exit(7)
        if odd and opt.differ == "raise":
            loss = model(x[:, :9])
        for parameter in model.parameters():
            grad = parameter.grad
            if odd and opt.differ == "shape":
                grad = grad.flatten()[:5]
            if odd and opt.differ == "operation":
                dist.broadcast(grad, 1)
            else:
                dist.all_reduce(grad)
        if opt.differ == "barrier" and step % 10 == 0:
            if rank == 1 and step == 20:
                with lock:
                    refresh_statistics()
            dist.monitored_barrier(timeout=timedelta(seconds=opt.timeout))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad / dist.get_world_size()
                parameter.grad = None
        if step % 5 == 0:
            log.info("step %d loss %.4f", step, loss.item())
    log.info("done")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
