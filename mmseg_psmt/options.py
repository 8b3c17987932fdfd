"""Checks of options that say which, what it must be and what it is."""

import inspect
import re
from difflib import get_close_matches
from math import inf
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Callable, Iterator

from mmengine import registry as roots
from mmengine.registry import Registry


def require(
    name: str, value: Any, rule: str, fine: Callable[[Any], bool]
) -> None:
    """Refuse an option whose value breaks a rule.

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
    """Refuse all but a whole number of at least ``least``."""
    require(
        name,
        value,
        f'a whole number of at least {least}',
        lambda x: isinstance(x, Integral) and x is not True and x >= least,
    )


def require_number(
    name: str, value: Any, least: float, most: float = inf
) -> None:
    """Refuse all but a finite number from ``least`` to ``most``."""
    rule = (
        f'a finite number of at least {least}'
        if most == inf
        else f'a number in [{least}, {most}]'
    )
    require(
        name,
        value,
        rule,
        lambda x: isinstance(x, Real) and least <= x <= most and x < inf,
    )


def require_positive(name: str, value: Any) -> None:
    """Refuse all but a finite number above 0."""
    require(
        name,
        value,
        'a positive finite number',
        lambda x: isinstance(x, Real) and 0 < x < inf,
    )


def require_range(name: str, value: Any, most: float = inf) -> None:
    """Refuse all but two finite numbers 0 < low <= high <= ``most``."""
    rule = '0 < low <= high' + ('' if most == inf else f' <= {most}')
    require(
        name,
        value,
        f'two finite numbers {rule}',
        lambda x: len(x) == 2 and 0 < x[0] <= x[1] <= most and x[1] < inf,
    )


# Options of PSMT in version 0.1, and where they are now.
MOVED = {
    'num_teachers': 'teachers.num',
    'teachers_init': 'teachers.init',
    'ema_decay': 'teachers.decay',
    'alternate_every': 'teachers.alternate_every',
    'teacher_norm': 'teachers.norm',
    'assist_topk': 'teachers.topk',
}


def missing_module(error: BaseException) -> str:
    """What is wrong, and what to do, where an import lacks a module.

    mmengine's own error names its search path and not the module.

    Args:
        error (BaseException): Of an import, or of a config with imports.

    Returns:
        str: Two sentences; empty if the error began with another one.
    """
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    if not isinstance(error, ModuleNotFoundError):
        return ''
    return (
        f'{error}, which the config, or a package that it imports, needs. '
        'Install it, or add its folder to PYTHONPATH'
    )


def did_you_mean(error: BaseException) -> str:
    """A hint for an option, a type or a file that does not exist.

    Args:
        error (BaseException): Of a registry, of a class that it builds, or
            of a file.

    Returns:
        str: "Did you mean 'x'?" with the nearest name; empty if the error is
        another one or there is nothing near.
    """
    text = str(error.args[0] if error.args else error)
    option = re.search(
        r'(\w+)\.__init__\(\) got an unexpected keyword '
        r"argument '(\w+)'",
        text,
    )
    kind = re.search(r'(\w+) is not in the \w+::([\w ]+) registry', text)
    if isinstance(error, FileNotFoundError):
        path = Path(error.filename or '')
        word = path.name
        names = {file.name for file in path.parent.glob(f'*{path.suffix}')}
    elif option:
        word = option[2]
        if option[1] == 'PSMT' and word in MOVED:
            return f'It is model.{MOVED[word]} since version 0.2'
        names = {
            name
            for built in _registered()
            if getattr(built, '__name__', '') == option[1]
            for part in inspect.getmro(built)
            if '__init__' in vars(part)
            for name in inspect.signature(part.__init__).parameters
        }
        names -= {'self', 'args', 'kwargs'}
    elif kind:
        word = kind[1]
        names = {
            name
            for registry in _registries()
            if registry.name == kind[2]
            for name in registry.module_dict
        }
    else:
        return ''
    near = get_close_matches(word, sorted(names), n=1)
    return f'Did you mean {near[0]!r}?' if near else ''


def _registries() -> Iterator[Registry]:
    """Those of mmengine and of the packages that are imported."""
    for root in vars(roots).values():
        if isinstance(root, Registry):
            yield from (root, *root.children.values())


def _registered() -> Iterator[Any]:
    for registry in _registries():
        yield from registry.module_dict.values()


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
