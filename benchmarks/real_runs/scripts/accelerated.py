"""Train a classifier with Accelerate."""

import argparse
import json
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--resume", default="")
parser.add_argument("--classes", type=int, default=4)
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--bar", action="store_true")
parser.add_argument("--keep", type=int, default=0)
opt = parser.parse_args()
log = get_logger(__name__, log_level="INFO")


def main():
    import logging

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s - %(levelname)s - %(name)s - %(message)s"
    )
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    log.info(accelerator.state, main_process_only=False)
    set_seed(0)
    rows = [
        json.loads(line) for file in sorted(Path("data").glob("*.jsonl")) for line in file.open()
    ]
    data = TensorDataset(torch.tensor([r["x"] for r in rows]), torch.tensor([r["y"] for r in rows]))
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, opt.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=opt.lr)
    model, optimizer, loader = accelerator.prepare(
        model, optimizer, DataLoader(data, 32, shuffle=True)
    )
    if opt.resume:
        accelerator.load_state(opt.resume)
        log.info(f"resumed from {opt.resume}")
    kept, step = [], 0
    for epoch in range(opt.epochs):
        for x, y in tqdm(loader, disable=not (opt.bar and accelerator.is_main_process)):
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            time.sleep(opt.sleep)
            if opt.keep:
                kept.append(torch.ones(opt.keep << 18))
            if step % 4 == 0:
                log.info(f"epoch {epoch} step {step} loss {loss.item():.4f}")
        accelerator.wait_for_everyone()
        accelerator.save_state(f"out/epoch-{epoch}")
    log.info("training finished")
    accelerator.end_training()


if __name__ == "__main__":
    main()
