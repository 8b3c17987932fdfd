"""Random numbers that a resumed training repeats."""

import random
from contextlib import contextmanager
from typing import Iterator, Tuple

import numpy as np
import torch
from mmengine.dist import get_rank


@contextmanager
def seeded(seed: Tuple[int, ...]) -> Iterator[None]:
    """Random numbers of ``random``, numpy and torch that follow from a seed.

    Afterwards they go on as if nothing had been drawn.

    Args:
        seed (tuple[int, ...]): Not negative.
    """
    states = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence(seed).generate_state(3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(words[0]))
        random.seed(int(words[1]))
        np.random.seed(words[2])
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def fork_rng(
    iteration: int, device: torch.device
) -> Iterator[np.random.Generator]:
    """All random numbers inside follow from (seed, iteration, rank).

    Dropout included: torch's own state is seeded, and restored afterwards.

    Args:
        iteration (int): Iteration of the training.
        device (torch.device): Where the model computes.

    Yields:
        np.random.Generator: For decisions on the CPU, such as boxes.
    """
    rng = np.random.default_rng([torch.initial_seed(), iteration, get_rank()])
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(int(rng.integers(2**62)))
        yield rng
