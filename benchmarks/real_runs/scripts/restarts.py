"""Train under torchrun; the first attempt of rank 1 fails once, and the restart succeeds."""

import argparse
import logging
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30)
opt = parser.parse_args()
rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
logging.basicConfig(
    level=logging.INFO, format=f"%(asctime)s [rank{rank}] %(levelname)s: %(message)s"
)
log = logging.getLogger("train")


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters())
    last = Path("out/last.pt")
    start = 0
    if last.exists():
        state = torch.load(last)
        model.module.load_state_dict(state["model"])
        start = state["step"]
        log.info("attempt %d resumes from %s at step %d", attempt, last, start)
    for step in range(start + 1, opt.steps + 1):
        x = torch.randn(8, 16)
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            log.info("step %d loss %.4f", step, loss.item())
        if step % 10 == 0 and rank == 0:
            torch.save({"model": model.module.state_dict(), "step": step}, last)
        if step % 10 == 0:
            dist.barrier()
        if step == 13 and rank == 1 and attempt == 0:
            raise ConnectionError("the feature store closed the connection")
    log.info("training finished")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
