"""The weight of the unsupervised loss as a function of the iteration."""
import math

KINDS = {
    'cosine': lambda t: 0.5 * (1 - math.cos(math.pi * t)),
    'linear': lambda t: t,
    'sigmoid': lambda t: math.exp(-5 * (1 - t)**2),
    'constant': lambda t: 1.,
}


def ramp(iteration: int, length: int, kind: str = 'cosine') -> float:
    """Rise from (about) 0 to 1 within ``length`` iterations, then stay.

    Args:
        iteration (int): Iterations since the ramp began.
        length (int): Iterations until it reaches 1; 0 is 1 from the start.
        kind (str): 'cosine', 'linear', 'sigmoid' or 'constant'.

    Returns:
        float: In [0, 1].

    Raises:
        ValueError: On an unknown ``kind`` or a negative number.
    """
    if kind not in [*KINDS]:
        raise ValueError(f'kind must be one of {list(KINDS)}, got {kind!r}')
    if iteration < 0 or length < 0:
        raise ValueError('iteration and length of a ramp cannot be negative, '
                         f'got {iteration} and {length}')
    if iteration >= length:
        return 1.
    return KINDS[kind](iteration / length)
