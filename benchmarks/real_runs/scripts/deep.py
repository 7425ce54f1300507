"""Train a small network with DeepSpeed on CPU."""

import argparse
import time

import deepspeed
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=0)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--stage", type=int, default=0)
parser.add_argument("--fp16", action="store_true")
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--gain", type=float, default=1.0)
parser.add_argument("--resume", default="")
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--keep", type=int, default=0)
parser.add_argument("--features", type=int, default=32)
opt = parser.parse_args()
config = {
    "train_micro_batch_size_per_gpu": 8,
    "train_batch_size": opt.batch,
    "optimizer": {"type": "Adam", "params": {"lr": opt.lr, "torch_adam": True}},
    "zero_optimization": {"stage": opt.stage},
    "steps_per_print": 10,
    "gradient_clipping": 1.0,
}
if opt.fp16:
    config["fp16"] = {
        "enabled": True,
        "initial_scale_power": 4,
        "loss_scale_window": 50,
        "hysteresis": 1,
        "min_loss_scale": 1,
    }
if opt.bf16:
    config["bf16"] = {"enabled": True}


def main():
    torch.manual_seed(0)
    deepspeed.init_distributed("gloo")
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    engine, _, _, _ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=config
    )
    if opt.resume:
        path, _ = engine.load_checkpoint(opt.resume)
        print(f"loaded {path}", flush=True)
        if path is None:
            raise FileNotFoundError(f"no checkpoint in {opt.resume}")
    kept = []
    kind = torch.float16 if opt.fp16 else torch.bfloat16 if opt.bf16 else torch.float32
    for step in range(1, opt.steps + 1):
        x = torch.randn(8, opt.features)
        y = x[:, :4].argmax(1)
        logits = engine((x * (opt.gain if step > 15 else 1)).to(kind))
        loss = nn.functional.cross_entropy(logits.float(), y) * (opt.gain if step > 15 else 1)
        engine.backward(loss)
        engine.step()
        time.sleep(opt.sleep)
        if opt.keep:
            kept.append(torch.ones(opt.keep << 18))
        if engine.local_rank == 0 and step % 5 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
        if step % 20 == 0:
            engine.save_checkpoint("out")
    print("training finished", flush=True)


if __name__ == "__main__":
    main()
