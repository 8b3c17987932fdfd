"""The weight of the unsupervised loss as a function of the iteration."""

import math

from ..options import require_number


def ramp(iteration: int, length: int) -> float:
    """Rise from 0 to 1 along a cosine within ``length`` iterations, then stay.

    Args:
        iteration (int): Iterations since the ramp began.
        length (int): Iterations until it reaches 1; 0 is 1 from the start.

    Returns:
        float: In [0, 1].

    Raises:
        ValueError: On a negative number.
    """
    require_number('iteration', iteration, 0)
    require_number('length', length, 0)
    if iteration >= length:
        return 1.0
    return 0.5 * (1 - math.cos(math.pi * iteration / length))
