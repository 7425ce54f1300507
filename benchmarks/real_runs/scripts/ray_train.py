"""Train a small network with Ray Train."""

import argparse
import json
import os
import time
from pathlib import Path

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--workers", type=int, default=1)
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--features", type=int, default=32)
parser.add_argument("--exit-at", type=int, default=0)
parser.add_argument("--retries", type=int, default=0)
parser.add_argument("--sleep", type=float, default=0.0)
opt = parser.parse_args()
folder = os.getcwd()


def loop(config):
    rows = [
        json.loads(line)
        for file in sorted(Path(folder, "data").glob("*.jsonl"))
        for line in file.open()
    ]
    x, y = torch.tensor([r["x"] for r in rows]), torch.tensor([r["y"] for r in rows])
    model = ray.train.torch.prepare_model(nn.Linear(opt.features, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    mark = Path(folder, "out", "once")
    for step in range(1, opt.steps + 1):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(opt.sleep)
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
            ray.train.report({"loss": loss.item(), "step": step})
        first = ray.train.get_context().get_world_rank() == 0
        if step == opt.exit_at and first and not (opt.retries and mark.exists()):
            mark.touch()
            os._exit(9)


ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 << 20)
trainer = ray.train.torch.TorchTrainer(
    loop,
    scaling_config=ScalingConfig(num_workers=opt.workers),
    run_config=RunConfig(
        storage_path=folder + "/out", failure_config=FailureConfig(max_failures=opt.retries)
    ),
)
print(trainer.fit().metrics)
