"""Train a small network with PyTorch, alone or under DistributedDataParallel (gloo)."""

import argparse
import ctypes
import faulthandler
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

log = logging.getLogger("train")


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", default="data")
    add("--out", default="out")
    add("--steps", type=int, default=60)
    add("--batch-size", type=int, default=32)
    add("--workers", type=int, default=0)
    add("--lr", type=float, default=0.05)
    add("--device", default="cpu")
    add("--width", type=int, default=64)
    add("--features", type=int, default=32)
    add("--amp", default="", choices=["", "bf16", "fp16"])
    add("--save-every", type=int, default=20)
    add("--resume", default="")
    add("--patience", type=int, default=0)
    add("--clip", type=float, default=0.0)
    add("--detect-anomaly", action="store_true")
    add("--log-style", default="logging", choices=["logging", "print", "json", "bar"])
    add("--all-ranks", action="store_true", help="every rank writes its steps")
    add("--history", type=int, default=0, help="keep the activations of each step, MiB")
    add("--history-rank", type=int, default=-1, help="only this rank keeps them")
    add("--memory", action="store_true", help="write the resident memory at each step")
    add("--timeout", type=int, default=600)
    add("--uneven", action="store_true", help="shard by file, not by sample")
    add("--native", default="", help="shared library with the augmentation")
    add("--stop-on-sigterm", action="store_true")
    add("--max-minutes", type=float, default=0.0)
    add("--prefetch-lock", action="store_true")
    add("--faulthandler", type=int, default=0)
    add("--loss-limit", type=float, default=0.0)
    add("--sleep", type=float, default=0.0)
    add("--compile", action="store_true")
    add("--embedding", type=int, default=0)
    add("--dtype", default="float32")
    add("--retries", type=int, default=0)
    add("--half-inputs", action="store_true")
    add("--open-shards", action="store_true")
    return parser.parse_args()


class Shards(Dataset):
    """One JSON document a sample, in files of a hundred."""

    def __init__(self, folder, opt, rank=0, world=1):
        self.opt = opt
        self.files = sorted(Path(folder).glob("*.jsonl"))
        if not self.files:
            raise FileNotFoundError(f"no shards in {folder}")
        if opt.uneven:
            self.files = self.files[rank::world]
        self.handles = []
        self.lines = []
        for file in self.files:
            self.lines += self.read(file)
        self.native = ctypes.CDLL(os.path.abspath(opt.native)) if opt.native else None

    def read(self, file):
        for attempt in range(self.opt.retries + 1):
            try:
                return file.read_text().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                if attempt == self.opt.retries:
                    raise
                log.warning(
                    "reading %s failed (%s), retry %d/%d",
                    file,
                    error,
                    attempt + 1,
                    self.opt.retries,
                )
                time.sleep(0.2)
                if file.with_suffix(".copy").exists():
                    file.with_suffix(".copy").rename(file)

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, index):
        sample = json.loads(self.lines[index])
        x = torch.tensor(sample["x"])
        y = torch.tensor(sample["y"])
        if self.opt.open_shards:
            self.handles.append(open(self.files[index % len(self.files)]))
        if self.native is not None:
            self.native.augment(
                ctypes.c_void_p(x.data_ptr()), ctypes.c_int(x.numel()), ctypes.c_int(index)
            )
        return x, y


class Net(nn.Module):
    def __init__(self, opt):
        super().__init__()
        self.embed = nn.Embedding(opt.embedding, opt.features) if opt.embedding else None
        self.body = nn.Sequential(
            nn.Linear(opt.features, opt.width),
            nn.ReLU(),
            nn.Linear(opt.width, opt.width),
            nn.ReLU(),
        )
        self.head = nn.Linear(opt.width, 4)

    def forward(self, x):
        if self.embed is not None:
            x = self.embed(x.long()).mean(1)
        return self.head(self.body(x))


class Prefetcher(threading.Thread):
    """Keeps the next batch ready."""

    def __init__(self, loader):
        super().__init__(daemon=True)
        self.loader, self.fill, self.use = loader, threading.Lock(), threading.Lock()
        self.batch, self.ready = None, threading.Event()

    def run(self):
        for batch in self.loader:
            with self.fill:
                self.ready.set()
                time.sleep(0.01)
                with self.use:
                    self.batch = batch

    def __iter__(self):
        self.start()
        while True:
            self.ready.wait()
            with self.use:
                time.sleep(0.01)
                with self.fill:
                    yield self.batch


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


class Teller:
    def __init__(self, opt, rank):
        self.opt, self.rank = opt, rank
        self.bar = None
        if opt.log_style == "bar":
            from tqdm import tqdm

            self.bar = tqdm(total=opt.steps, disable=rank != 0)

    def step(self, step, loss, norm, lr, took):
        if self.rank != 0 and not self.opt.all_ranks:
            return
        style = self.opt.log_style
        memory = f" | rss {resident_mib():.0f} MiB" if self.opt.memory else ""
        if style == "json":
            print(
                json.dumps(
                    {"step": step, "loss": round(loss, 5), "grad_norm": round(norm, 4), "lr": lr}
                ),
                flush=True,
            )
        elif style == "print":
            print(
                f"step {step}/{self.opt.steps}: loss={loss:.4f} grad_norm={norm:.3f} lr={lr:.2e}{memory}",
                flush=True,
            )
        elif style == "bar":
            self.bar.update(1)
            self.bar.set_postfix(loss=loss)
        elif step % 5 == 0 or step == 1:
            log.info(
                "step %d | loss %.4f | grad_norm %.4f | lr %.2e | step_time %.3f s%s",
                step,
                loss,
                norm,
                lr,
                took,
                memory,
            )


def save(path, model, optimizer, step):
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, path)
    log.info("saved checkpoint %s", path)


def main():
    opt = options()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s [rank{rank}] %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if opt.faulthandler:
        faulthandler.enable()
        faulthandler.dump_traceback_later(opt.faulthandler, exit=True)
    torch.manual_seed(0)
    random.seed(rank)
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, opt.dtype))
    if world > 1:
        dist.init_process_group("gloo", timeout=timedelta(seconds=opt.timeout))
    device = torch.device(opt.device)
    dataset = Shards(opt.data, opt, rank, world)
    sampler = DistributedSampler(dataset) if world > 1 and not opt.uneven else None
    loader = DataLoader(
        dataset, opt.batch_size, shuffle=sampler is None, sampler=sampler, num_workers=opt.workers
    )
    model = Net(opt).to(device)
    if rank == 0:
        log.info(
            "world size %d, %d samples, %d parameters",
            world,
            len(dataset),
            sum(p.numel() for p in model.parameters()),
        )
    optimizer = torch.optim.SGD(model.parameters(), lr=opt.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, opt.steps)
    scaler = torch.amp.GradScaler("cpu", enabled=opt.amp == "fp16")
    start = 0
    if opt.resume:
        state = torch.load(opt.resume, map_location=device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
        log.info("resumed from %s at step %d", opt.resume, start)
    wrapped = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    if opt.compile:
        wrapped = torch.compile(wrapped)
    stop = threading.Event()
    if opt.stop_on_sigterm:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    torch.autograd.set_detect_anomaly(opt.detect_anomaly)
    teller = Teller(opt, rank)
    best, waited, kept, step, began = float("inf"), 0, [], start, time.monotonic()
    while step < opt.steps:
        for x, y in Prefetcher(loader) if opt.prefetch_lock else loader:
            before = time.monotonic()
            step += 1
            if opt.half_inputs:
                x = x.half()
            with torch.autocast(
                "cpu",
                getattr(torch, {"bf16": "bfloat16", "fp16": "float16"}.get(opt.amp, "bfloat16")),
                enabled=bool(opt.amp),
            ):
                loss = nn.functional.cross_entropy(wrapped(x.to(device)), y.to(device))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), opt.clip or float("inf"))
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            mean = loss.detach().clone()
            if world > 1:
                dist.all_reduce(mean)
            value = mean.item() / world
            if opt.history and opt.history_rank in (-1, rank):
                kept.append(torch.ones(opt.history << 18))
            teller.step(
                step, value, norm.item(), scheduler.get_last_lr()[0], time.monotonic() - before
            )
            if opt.loss_limit and not value < opt.loss_limit:
                raise RuntimeError(f"loss is {value} at step {step}, stopping")
            time.sleep(opt.sleep)
            if step % opt.save_every == 0 and rank == 0:
                save(Path(opt.out) / f"step-{step}.pt", model, optimizer, step)
            if stop.is_set():
                if rank == 0:
                    log.warning("SIGTERM received, saving and stopping")
                    save(Path(opt.out) / "interrupted.pt", model, optimizer, step)
                sys.exit(143)
            if opt.max_minutes and time.monotonic() - began > opt.max_minutes * 60:
                log.info(
                    "max time of %.2f minutes reached, stopping after step %d",
                    opt.max_minutes,
                    step,
                )
                return
            if opt.patience:
                waited = 0 if value < best - 1e-3 else waited + 1
                best = min(best, value)
                if waited >= opt.patience:
                    log.info("no improvement for %d steps, early stop at step %d", waited, step)
                    return
            if step >= opt.steps:
                break
        if rank == 0:
            log.info("epoch done")
    if step % 2:
        warnings.warn("an odd number of steps", stacklevel=1)
    if rank == 0:
        save(Path(opt.out) / "last.pt", model, optimizer, step)
        log.info("training finished: %d steps, last loss %.4f", step, value)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
