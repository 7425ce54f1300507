"""Train a regression in which a logarithm leaves its domain."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--detect-anomaly", action="store_true")
opt = parser.parse_args()
torch.manual_seed(3)
torch.autograd.set_detect_anomaly(opt.detect_anomaly)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1), nn.Softplus())
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(1, 61):
    x = torch.randn(64, 8)
    scale = model(x) - 0.0012 * step**1.7
    loss = (scale.log() - x[:, :1]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    print(f"step {step:4d}  loss {loss.item():.4f}  grad_norm {norm.item():.3f}", flush=True)
torch.save(model.state_dict(), "out/last.pt")
print("training finished")
