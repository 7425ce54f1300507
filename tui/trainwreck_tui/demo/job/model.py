"""A three-layer network with hand-written gradients, trained by SGD with momentum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

INPUT_WIDTH = 128
HIDDEN_WIDTH = 256
OUTPUT_WIDTH = 64
_SLOPE = np.float32(0.1)
"""Of the leaky ReLU below zero: no unit ever dies."""


class Model:
    """Weights and momentum, each in one flat vector so that they travel in one piece."""

    shapes = (
        (INPUT_WIDTH, HIDDEN_WIDTH),
        (HIDDEN_WIDTH, HIDDEN_WIDTH),
        (HIDDEN_WIDTH, OUTPUT_WIDTH),
    )

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        layers = [rng.normal(0, (2 / m) ** 0.5, (m, n)) for m, n in self.shapes]
        self.weights: Array = np.concatenate([w.ravel() for w in layers]).astype(np.float32)
        self.momentum: Array = np.zeros_like(self.weights)

    def _layers(self, flat: Array) -> list[Array]:
        layers, start = [], 0
        for rows, columns in self.shapes:
            layers.append(flat[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns
        return layers

    def forward(self, x: Array) -> tuple[Array, list[Array]]:
        """Prediction, and the input of every layer."""
        inputs = [x]
        for number, weight in enumerate(self._layers(self.weights)):
            x = x @ weight
            if number < len(self.shapes) - 1:
                x = np.where(x > 0, x, _SLOPE * x)
                inputs.append(x)
        return x, inputs

    def loss_and_gradient(self, x: Array, target: Array) -> tuple[float, Array, list[Array]]:
        """Mean squared error, its flat gradient, and the activations."""
        prediction, inputs = self.forward(x)
        error = prediction - target
        loss = float(np.mean(error * error))
        gradient = np.empty_like(self.weights)
        delta: Array = error * np.float32(2 / error.size)
        layers = self._layers(self.weights)
        for number in range(len(layers) - 1, -1, -1):
            self._layers(gradient)[number][:] = inputs[number].T @ delta
            if number:
                delta = (delta @ layers[number].T) * np.where(inputs[number] > 0, 1, _SLOPE)
        return loss, gradient, inputs

    def update(self, gradient: Array, learning_rate: float) -> None:
        """One step of SGD with momentum 0.9."""
        self.momentum *= np.float32(0.9)
        self.momentum += gradient
        self.weights -= np.float32(learning_rate) * self.momentum
