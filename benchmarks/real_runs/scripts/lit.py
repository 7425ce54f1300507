"""Train a classifier with Lightning."""

import argparse
import json
import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from torch import nn
from torch.utils.data import DataLoader, Dataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--resume", default="")
parser.add_argument("--patience", type=int, default=0)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--devices", type=int, default=1)
parser.add_argument("--precision", default="32-true")
parser.add_argument("--max-time", default="")
parser.add_argument("--no-bar", action="store_true")
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--keep", type=int, default=0)
parser.add_argument("--detect-anomaly", action="store_true")
parser.add_argument("--check-finite", action="store_true")
parser.add_argument("--accelerator", default="cpu")
parser.add_argument("--width", type=int, default=64)
parser.add_argument("--overfit", action="store_true")
opt = parser.parse_args()


class Samples(Dataset):
    def __init__(self):
        self.lines = [line for file in sorted(Path("data").glob("*.jsonl")) for line in file.open()]

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, index):
        sample = json.loads(self.lines[index])
        return torch.tensor(sample["x"]), torch.tensor(sample["y"])


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, opt.width), nn.ReLU(), nn.Linear(opt.width, 4))
        self.kept = []

    def step(self, batch, name):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log(name, loss, prog_bar=True, sync_dist=opt.devices > 1)
        return loss

    def training_step(self, batch, index):
        time.sleep(opt.sleep)
        if opt.keep:
            self.kept.append(torch.ones(opt.keep << 18))
        return self.step(batch, "train_loss")

    def validation_step(self, batch, index):
        self.step(batch, "val_loss")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=opt.lr)


def main():
    L.seed_everything(0)
    data = Samples()
    train = DataLoader(data, 32, shuffle=True, num_workers=opt.workers)
    valid = DataLoader(torch.utils.data.Subset(data, range(64)), 32, num_workers=opt.workers)
    callbacks = [ModelCheckpoint("out", save_last=True)]
    if opt.patience:
        callbacks.append(
            EarlyStopping(
                "val_loss", patience=opt.patience, verbose=True, min_delta=0.05, check_finite=True
            )
        )
    elif opt.check_finite:
        callbacks.append(
            EarlyStopping(
                "train_loss",
                patience=1000,
                verbose=True,
                check_finite=True,
                check_on_train_epoch_end=True,
            )
        )
    if opt.max_time:
        callbacks.append(Timer(opt.max_time))
    trainer = L.Trainer(
        max_epochs=opt.epochs,
        accelerator=opt.accelerator,
        devices=opt.devices,
        strategy="ddp" if opt.devices > 1 else "auto",
        precision=opt.precision,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=not opt.no_bar,
        detect_anomaly=opt.detect_anomaly,
        log_every_n_steps=5,
    )
    trainer.fit(Classifier(), train, valid, ckpt_path=opt.resume or None)
    print("best checkpoint:", callbacks[0].best_model_path)


if __name__ == "__main__":
    main()
