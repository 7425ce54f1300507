"""Train in fp16 with a loss scaler, on shards whose targets change their unit."""

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
LOWEST = 1.0
model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15, growth_interval=20)
for step in range(1, 201):
    x, unit = torch.randn(32, 16), 1e5 if step > 120 else 1.0
    with torch.autocast("cpu", torch.float16):
        loss = (model(x).float() * unit).square().mean()
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    scale = scaler.get_scale()
    note = "  gradient overflow, step skipped" if scale < before else ""
    print(f"step {step} loss {loss.item():.4f} loss_scale {scale:g}{note}", flush=True)
    if scale < LOWEST:
        raise FloatingPointError(
            f"loss scale {scale:g} is below the minimum of {LOWEST:g}: the gradients overflow"
        )
