"""Import a part of the model by its name and train."""

import argparse
import importlib

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--module", default="torch.nn")
parser.add_argument("--name", default="")
opt = parser.parse_args()
print(f"PyTorch {torch.__version__}, building the model", flush=True)
if opt.name:
    exec(f"from {opt.module} import {opt.name}")
else:
    importlib.import_module(opt.module)
