"""Train a classifier with Keras on TensorFlow."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--lr", type=float, default=1e-2)
parser.add_argument("--patience", type=int, default=0)
parser.add_argument("--nan-stop", action="store_true")
parser.add_argument("--classes", type=int, default=4)
parser.add_argument("--numerics", action="store_true")
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--keep", type=int, default=0)
parser.add_argument("--verbose", type=int, default=2)
parser.add_argument("--resume", default="")
parser.add_argument("--width", type=int, default=64)
opt = parser.parse_args()


class Slow(tf.keras.callbacks.Callback):
    kept = []

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(opt.sleep)
        if opt.keep:
            self.kept.append(np.ones(opt.keep << 17))


def main():
    tf.keras.utils.set_random_seed(0)
    if opt.numerics:
        tf.debugging.enable_check_numerics()
    rows = [
        json.loads(line) for file in sorted(Path("data").glob("*.jsonl")) for line in file.open()
    ]
    x = np.array([r["x"] for r in rows], np.float32)
    y = np.array([r["y"] for r in rows])
    if opt.resume:
        model = tf.keras.models.load_model(opt.resume)
    else:
        model = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(opt.width, "relu", input_shape=(32,)),
                tf.keras.layers.Dense(opt.classes),
            ]
        )
        model.compile(
            tf.keras.optimizers.SGD(opt.lr),
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    callbacks = [Slow(), tf.keras.callbacks.ModelCheckpoint("out/model.keras")]
    if opt.patience:
        callbacks.append(
            tf.keras.callbacks.EarlyStopping(
                "val_loss", patience=opt.patience, verbose=1, min_delta=0.05
            )
        )
        callbacks.append(tf.keras.callbacks.ReduceLROnPlateau(patience=1, verbose=1))
    if opt.nan_stop:
        callbacks.append(tf.keras.callbacks.TerminateOnNaN())
    history = model.fit(
        x,
        y,
        batch_size=32,
        epochs=opt.epochs,
        validation_split=0.1,
        callbacks=callbacks,
        verbose=opt.verbose,
    )
    print("final loss", history.history["loss"][-1])


if __name__ == "__main__":
    main()
