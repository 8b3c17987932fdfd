"""Random numbers that follow from a seed."""
import random
from contextlib import contextmanager
from typing import Iterator, Tuple

import numpy as np
import torch


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
