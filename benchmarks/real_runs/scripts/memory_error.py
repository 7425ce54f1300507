"""Collect the tokens of a corpus in memory."""

import torch

print(f"PyTorch {torch.__version__}", flush=True)
tokens, shard = [], 0
while True:
    tokens.append(bytearray(64 << 20))
    shard += 1
    print(f"shard {shard}: {len(tokens) * 64} MiB of tokens", flush=True)
