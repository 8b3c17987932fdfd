"""Random numbers that a resumed training repeats."""
from contextlib import contextmanager
from typing import Iterator

import numpy as np
import torch
from mmengine.dist import get_rank


@contextmanager
def fork_rng(iteration: int,
             device: torch.device) -> Iterator[np.random.Generator]:
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
