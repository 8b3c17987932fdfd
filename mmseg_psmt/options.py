"""Checks of options that say which, what it must be and what it is."""
from math import inf
from numbers import Integral, Real
from typing import Any, Callable

from mmengine.registry import Registry


def is_type(registry: Registry, kind: Any, *classes: type) -> bool:
    """Whether the type of a config stands for one of these classes.

    Args:
        registry (Registry): Where names are looked up.
        kind (Any): A name, with or without its scope, the path of a class, or
            the class itself.
        *classes (type): A subclass counts, too.
    """
    if isinstance(kind, str):
        try:
            kind = registry.get(kind)
        except RuntimeError:  # no such name
            return False
    return isinstance(kind, type) and issubclass(kind, classes)


def require(name: str, value: Any, rule: str,
            fine: Callable[[Any], bool]) -> None:
    """Refuse an option that is not fine.

    Args:
        name (str): Of the option, for the message.
        value (Any): Its value.
        rule (str): What it must be, for the message.
        fine (Callable): Of the value. A TypeError within means it is not.

    Raises:
        ValueError: If it is not.
    """
    try:
        passed = fine(value)
    except TypeError:
        passed = False
    if not passed:
        raise ValueError(f'{name} must be {rule}, got {value!r}')


def require_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number of at least ``least``."""
    require(name, value, f'a whole number of at least {least}',
            lambda x: isinstance(x, Integral) and x is not True
            and x >= least)


def require_number(name: str, value: Any, least: float,
                   most: float = inf) -> None:
    """Refuse what is no finite number from ``least`` to ``most``."""
    rule = (f'a finite number of at least {least}'
            if most == inf else f'a number in [{least}, {most}]')
    require(name, value, rule,
            lambda x: isinstance(x, Real) and least <= x <= most and x < inf)


def require_positive(name: str, value: Any) -> None:
    """Refuse what is no finite number above 0."""
    require(name, value, 'a positive finite number',
            lambda x: isinstance(x, Real) and 0 < x < inf)


def require_range(name: str, value: Any, most: float = inf) -> None:
    """Refuse what is not two finite numbers 0 < low <= high <= ``most``."""
    rule = '0 < low <= high' + ('' if most == inf else f' <= {most}')
    require(name, value, f'two finite numbers {rule}',
            lambda x: len(x) == 2 and 0 < x[0] <= x[1] <= most
            and x[1] < inf)
