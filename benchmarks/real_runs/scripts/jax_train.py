"""Train a small network with JAX, Flax and Optax on CPU."""

import argparse
import json
import logging
import os
import pickle
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--resume", default="")
parser.add_argument("--patience", type=int, default=0)
parser.add_argument("--platform", default="")
parser.add_argument("--debug-nans", action="store_true")
parser.add_argument("--stop-on-nan", action="store_true")
parser.add_argument("--features", type=int, default=32)
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--keep", type=int, default=0)
parser.add_argument("--orbax", action="store_true")
parser.add_argument("--processes", type=int, default=0)
parser.add_argument("--pad", type=int, default=0)
parser.add_argument("--allocate", type=int, default=0, help="GiB")
opt = parser.parse_args()
logging.basicConfig(
    level=logging.INFO,
    format="%(levelname).1s%(asctime)s %(process)d %(filename)s:%(lineno)d] %(message)s",
    datefmt="%m%d %H:%M:%S",
)
log = logging.getLogger("train")
if opt.platform:
    jax.config.update("jax_platforms", opt.platform)
jax.config.update("jax_debug_nans", opt.debug_nans)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.relu(nn.Dense(64)(x)))


def save(path, state):
    if opt.orbax:
        import orbax.checkpoint as ocp

        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(Path(path).absolute(), state)
    else:
        with open(path, "wb") as file:
            pickle.dump(jax.device_get(state), file)
            if opt.pad:
                file.write(b"\0" * (opt.pad << 20))
    log.info("Saved checkpoint %s", path)


def main():
    if opt.processes:
        jax.distributed.initialize(
            f"127.0.0.1:{os.environ['MASTER_PORT']}",
            opt.processes,
            int(os.environ["RANK"]),
            initialization_timeout=15,
        )
    log.info(
        "JAX process %d / %d, devices %s",
        jax.process_index(),
        jax.process_count(),
        jax.local_devices(),
    )
    rows = [
        json.loads(line) for file in sorted(Path("data").glob("*.jsonl")) for line in file.open()
    ]
    xs, ys = np.array([r["x"] for r in rows], np.float32), np.array([r["y"] for r in rows])
    net = Net()
    params = net.init(jax.random.key(0), jnp.ones((1, opt.features)))
    tx = optax.adam(opt.lr)
    state = {"params": params, "opt": tx.init(params), "step": 0}
    if opt.resume:
        with open(opt.resume, "rb") as file:
            state = pickle.load(file)
        log.info("Restored checkpoint %s at step %d", opt.resume, state["step"])

    @jax.jit
    def update(params, opt_state, x, y):
        def loss_fn(p):
            return optax.softmax_cross_entropy_with_integer_labels(net.apply(p, x), y).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = tx.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    chance, best, waited, kept = np.random.default_rng(0), float("inf"), 0, []
    for step in range(state["step"] + 1, opt.steps + 1):
        pick = chance.integers(0, len(xs), 32)
        params, opt_state, loss, norm = update(state["params"], state["opt"], xs[pick], ys[pick])
        state = {"params": params, "opt": opt_state, "step": step}
        time.sleep(opt.sleep)
        if opt.keep:
            kept.append(jnp.ones(opt.keep << 18).block_until_ready())
        if opt.allocate and step == 20:
            kept.append(jnp.ones(opt.allocate << 28).block_until_ready())
        if step % 5 == 0:
            log.info("step %d, loss: %.4f, grad_norm: %.4f", step, loss, norm)
        if step % 20 == 0:
            save(f"out/step-{step}", state)
        if opt.stop_on_nan and not jnp.isfinite(loss):
            raise FloatingPointError(f"loss is {loss} at step {step}")
        waited = 0 if loss < best else waited + 1
        best = min(best, float(loss))
        if opt.patience and waited >= opt.patience:
            log.info("Early stopping at step %d", step)
            break
    log.info("Training done.")


if __name__ == "__main__":
    main()
