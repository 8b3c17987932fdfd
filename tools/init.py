"""Write the PS-MT config of a config of mmseg, and its supervised twin.

From my_config.py, which trains on images with masks, and photos without:

    python tools/init.py my_config.py --unlabeled photos/

writes my_config_psmt.py, a short config that inherits from my_config.py, and
my_config_psmt_supervised.py, which trains on the labeled images alone for as
many iterations. Then it checks the data, and says how to train and compare
the two. docs/custom_data.md explains what is written.
"""

import argparse
import copy
import math
import os
import random
import runpy
import shlex
import sys
import textwrap
from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        type=Path,
        help='config of mmseg that trains on the images '
        'with masks, with _base_ or in pure Python',
    )
    parser.add_argument(
        '--unlabeled',
        nargs='+',
        required=True,
        metavar='PHOTOS',
        help='images without masks: a folder, a quoted pattern, an image, a '
        '.txt list, or several of these',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='the PS-MT config, CONFIG_psmt.py if unset; '
        'its twin is OUT_supervised.py',
    )
    parser.add_argument(
        '--force', action='store_true', help='overwrite what exists'
    )
    parser.add_argument(
        '--max-iters',
        type=int,
        help='another length of both trainings; all '
        'lengths in the schedule are scaled with it',
    )
    parser.add_argument(
        '--crop',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='crop of all training images, if the config has none',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        help='processes of the training; the '
        'length of an epoch depends on it. Default 1',
    )
    args = parser.parse_args()
    for name in ('max_iters', 'crop', 'gpus'):
        value = getattr(args, name)
        if value is not None and np.min(value) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    args.out = args.out or args.config.with_name(f'{args.config.stem}_psmt.py')
    if args.out.suffix != '.py':
        parser.error(f'--out must end in .py, got {args.out}')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

from mmengine.registry import init_default_scope
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from mmseg.registry import DATASETS, OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS
from mmseg.utils import register_all_modules
from yapf.yapflib.yapf_api import FormatCode

from mmseg_psmt.cli import command
from mmseg_psmt.datasets import UnlabeledFolder
from mmseg_psmt.datasets.images import depth, reason
from mmseg_psmt.datasets.probes import GROUPS, moved, pixels, probe
from mmseg_psmt.models.heads import refuse

TOOLS = Path(os.path.abspath(__file__)).parent
PSMT = TOOLS.parent / 'configs/_base_/psmt.py'
# What counts epochs or iterations in a loop and in a parameter scheduler.
LOOP_LENGTHS = ('val_begin', 'val_interval', 'dynamic_intervals')
LENGTHS = (
    'begin',
    'end',
    'T_max',
    'step_size',
    'total_steps',
    'milestones',
    'periods',
)
# A strong view of images with other channels or more bits.
ANY_CHANNELS = (
    dict(type='ColorJitter', saturation=0, hue=0),
    dict(type='RandomGaussianBlur'),
    dict(type='PackSegInputs'),
)
SCORES = ('IoUMetric', 'TeacherStudentIoUMetric')
TRIALS = 50  # of a random transform, to see what it does


def name_of(cfg: Optional[dict]) -> str:
    """The name of a config's type, by whatever it is given."""
    kind = (cfg or {}).get('type', '')
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def load(path: Path) -> Config:
    """A config that trains a segmentor; SystemExit where it does not."""
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        if '::' in str(path):
            raise SystemExit(
                f'{path} is not a file: write one with '
                f'_base_ = {str(path)!r}, and give that'
            )
        raise SystemExit(f'{path} cannot be read: {reason(error)}')
    missing = [
        key
        for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
        if not cfg.get(key)
    ]
    if missing:
        raise SystemExit(
            f'{path} has no {", ".join(missing)}: give the '
            'config that you train with mmseg'
        )
    if 'segmentor' in cfg.model:
        raise SystemExit(
            f'{path} is a PS-MT config already: see tools/check_data.py {path}'
        )
    if 'decode_head' not in cfg.model:
        raise SystemExit(
            f'model.type of {path} is {name_of(cfg.model) or "missing"}, '
            'which has no decode_head: PS-MT trains an EncoderDecoder'
        )
    try:
        refuse(cfg.model)
    except ValueError as error:
        raise SystemExit(f'{path}: {error}')
    return cfg


def is_pure_python(path: Path) -> bool:
    """Whether only configs in pure Python can inherit from a config."""
    try:
        Config.fromstring(f'_base_ = {os.path.abspath(path)!r}', '.py')
    except RuntimeError:
        return True
    return False


# ---- code ----


def path_from(path: Path, base: Path) -> str:
    """A base as it is seen from the folder of a config."""
    folder, base = os.path.abspath(path.parent), os.path.abspath(base)
    relative = os.path.relpath(base, folder)
    # '..' of a linked folder leads elsewhere
    if (
        os.path.realpath(os.path.join(folder, relative))
        != os.path.realpath(base)
        or os.path.commonpath([folder, base]) == os.path.sep
    ):
        return base
    return Path(relative).as_posix()


def module_from(path: Path, base: Path) -> str:
    """A base as a config in pure Python imports it.

    Raises:
        ValueError: If a part of the way has no Python name.
    """
    parts = Path(path_from(path, base)).with_suffix('').parts
    up = parts.count('..')
    for part in parts[up:]:
        if not part.isidentifier() or iskeyword(part):
            raise ValueError(f'{part!r} is not a Python name')
    return '.' * (up + 1) + '.'.join(parts[up:])


@dataclass
class Written:
    """A config that inherits from another one.

    Args:
        path (Path): Where it will lie.
        base (Config): What it inherits.
        pure (bool): Whether it is in pure Python, or has ``_base_``.
    """

    path: Path
    base: Config
    pure: bool
    notes: List[str] = field(default_factory=list)
    lines: List[str] = field(default_factory=list)
    imports: Dict[str, set] = field(default_factory=dict)

    @property
    def work_dir(self) -> str:
        """Where its training writes to."""
        folder = Path(self.base.get('work_dir') or 'work_dirs/config').parent
        return (folder / self.path.stem).as_posix()

    def ref(self, name: str) -> str:
        """Code of what is inherited."""
        if not self.pure:
            return f'_base_.{name}'
        first, *rest = name.split('.')
        return first + ''.join(f'[{key!r}]' for key in rest)

    def literal(self, value: Any) -> str:
        """Code of a value; the classes in it will be imported."""
        if isinstance(value, dict):
            items = {key: self.literal(x) for key, x in value.items()}
            if all(
                isinstance(key, str)
                and key.isidentifier()
                and not iskeyword(key)
                for key in items
            ):
                words = (f'{key}={x}' for key, x in items.items())
                return f'dict({", ".join(words)})'
            words = (f'{key!r}: {x}' for key, x in items.items())
            return f'{{{", ".join(words)}}}'
        if isinstance(value, (list, tuple)):
            items = ', '.join(map(self.literal, value))
            if isinstance(value, list):
                return f'[{items}]'
            return f'({items},)' if len(value) == 1 else f'({items})'
        if isinstance(value, float) and not math.isfinite(value):
            return f"float('{value}')"
        if not hasattr(value, '__qualname__'):
            return repr(value)
        module, name = value.__module__, value.__name__
        # the package that shows it, as mmseg.datasets
        while (
            module.count('.') > 1
            and getattr(sys.modules[module.rpartition('.')[0]], name, None)
            is value
        ):
            module = module.rpartition('.')[0]
        self.imports.setdefault(module, set()).add(name)
        return name

    def set(self, name: str, code: str) -> None:
        """Assign code; a dict is merged, as ``_base_`` has it."""
        merged = self.pure and isinstance(self.base.get(name), dict)
        self.lines.append(
            f'{name}.merge({code})' if merged else f'{name} = {code}'
        )

    def text(self, title: str, *bases: Path) -> str:
        """The file.

        Raises:
            ValueError: If it cannot import a base.
        """
        head = [
            f'# {line}'
            for note in (title, *self.notes)
            for line in textwrap.wrap(note, 77)
        ]
        lines = [*self.lines]
        if self.pure:
            head += [
                'from mmengine.config import read_base',
                '',
                'with read_base():',
            ]
            for base in bases:
                try:
                    module = module_from(self.path, base)
                    head.append(f'    from {module} import *')
                except ValueError:
                    if base != PSMT:
                        raise
                    psmt = self.literal(Config.fromfile(PSMT).psmt)
                    lines.insert(0, f'psmt = {psmt}')
            head += [
                '',
                *(
                    f'from {module} import {", ".join(sorted(names))}'
                    for module, names in sorted(self.imports.items())
                ),
            ]
        else:
            seen = [path_from(self.path, base) for base in bases]
            head += [f'_base_ = {seen[0] if len(seen) == 1 else seen!r}']
        code, _ = FormatCode(
            '\n'.join([*head, *lines, '']),
            style_config=dict(
                based_on_style='pep8',
                blank_lines_around_top_level_definition=1,
                split_before_expression_after_opening_paren=True,
            ),
        )
        return code.rstrip() + '\n'  # yapf forgets it after one line


# ---- the schedule ----


def iterations_per_unit(
    cfg: Config, max_iters: Optional[int], gpus: int
) -> Tuple[float, bool, str]:
    """By what a schedule is multiplied, and why.

    Returns:
        tuple[float, bool, str]: Iterations for each epoch, or for each
        iteration of today; whether it is epochs; and a sentence, empty if
        nothing changes. SystemExit where it cannot be told.
    """
    train = cfg.train_cfg
    kind = name_of(train) or (
        'EpochBasedTrainLoop'
        if train.get('by_epoch')
        else 'IterBasedTrainLoop'
    )
    if kind == 'IterBasedTrainLoop' and train.get('max_iters'):
        new = max_iters or train.max_iters
        return (
            new / train.max_iters,
            False,
            (
                f'{train.max_iters} iterations became {new}.'
                if new != train.max_iters
                else ''
            ),
        )
    if kind != 'EpochBasedTrainLoop' or not train.get('max_epochs'):
        raise SystemExit(
            f'The length of train_cfg={dict(train)} cannot be told: set '
            "type='IterBasedTrainLoop' and max_iters in your config"
        )
    if max_iters:
        return (
            max_iters / train.max_epochs,
            True,
            (f'{train.max_epochs} epochs became {max_iters} iterations.'),
        )
    loader = cfg.train_dataloader
    batch = loader.batch_size * gpus
    try:
        images = len(DATASETS.build(copy.deepcopy(loader.dataset)))
    except Exception as error:
        raise SystemExit(
            'The labeled images cannot be counted, so the length of an epoch '
            f'is not known ({reason(error)}): fix train_dataloader.dataset, '
            'or give --max-iters'
        )
    steps = images / batch
    steps = max(
        math.floor(steps) if loader.get('drop_last') else math.ceil(steps), 1
    )
    return (
        steps,
        True,
        (
            f'{train.max_epochs} epochs of {steps} iterations ({images} '
            f'images in batches of {batch}) became '
            f'{steps * train.max_epochs} iterations.'
        ),
    )


def scaled(length: Any, ratio: float) -> Any:
    """A length in other units, or several."""
    if isinstance(length, (list, tuple)):
        return type(length)(scaled(x, ratio) for x in length)
    if length <= 0 or math.isinf(length):
        return length  # the start, never or endless
    return max(round(length * ratio), 1)


def scaled_scheduler(old: dict, ratio: float, epochs: int) -> dict:
    """A parameter scheduler for the new loop; ``epochs`` of the old, or 0."""
    new, kind = dict(old), name_of(old)
    if kind.startswith('ReduceOnPlateau'):
        if epochs:  # it counts validations, but ends with the epochs
            new.setdefault('end', epochs)
        return new
    if epochs and not old.get('by_epoch', True):
        return new
    new.update({key: scaled(old[key], ratio) for key in LENGTHS if key in old})
    if epochs:
        new.pop('convert_to_iter_based', None)
        new['by_epoch'] = False
        if kind.startswith('Exponential'):
            new['gamma'] = old['gamma'] ** (1 / ratio)
    return new


def convert_schedule(
    cfg: Config, max_iters: Optional[int], gpus: int, notes: List[str]
) -> dict:
    """What differs in a schedule of iterations, of the length asked for."""
    ratio, by_epoch, words = iterations_per_unit(cfg, max_iters, gpus)
    train, hooks, new = cfg.train_cfg, cfg.get('default_hooks') or {}, {}
    save = hooks.get('checkpoint') or dict(type='CheckpointHook')
    if words:
        notes.append(words)
        length = train.max_epochs if by_epoch else train.max_iters
        new['train_cfg'] = dict(
            _delete_=True,
            type='IterBasedTrainLoop',
            max_iters=scaled(length, ratio),
            val_interval=scaled(1 if by_epoch else 1000, ratio),
        )
        new['train_cfg'].update(
            {
                key: scaled(train[key], ratio)
                for key in LOOP_LENGTHS
                if key in train
            }
        )
        old = cfg.get('param_scheduler') or []
        if old:
            new['param_scheduler'] = [
                scaled_scheduler(one, ratio, train.get('max_epochs', 0))
                for one in ([old] if isinstance(old, dict) else old)
            ]
    if by_epoch:
        new['log_processor'] = dict(by_epoch=False)
        log = dict(hooks.get('logger') or dict(type='LoggerHook'))
        new['default_hooks'] = dict(
            logger=dict(type=log['type'], log_metric_by_epoch=False)
        )
        if name_of(cfg.train_dataloader.get('sampler')) == 'DefaultSampler':
            new['train_dataloader'] = dict(
                sampler=dict(
                    _delete_=True, type='InfiniteSampler', shuffle=True
                )
            )
        notes += [
            f'{key} of {name_of(hook)} in custom_hooks counts epochs, '
            'which no longer end: see whether the hook still suits.'
            for hook in cfg.get('custom_hooks') or []
            for key in hook
            if 'epoch' in key
        ]
    if words or save.get('by_epoch', True):
        when = {
            key: scaled(save[key], ratio)
            for key in ('interval', 'save_begin')
            if key in save
        }
        if not by_epoch and save.get('by_epoch', True):
            when['interval'] = new.get('train_cfg', train).get(
                'val_interval', 1000
            )
            notes.append(
                'The checkpoints counted epochs, which never end: '
                'there is one at each validation.'
            )
        new.setdefault('default_hooks', {})['checkpoint'] = dict(
            type=save['type'], by_epoch=False, **when
        )
    return new


# ---- the photos ----


def inner(dataset: dict) -> List[dict]:
    """The data sets within a wrapper such as ConcatDataset."""
    return (
        [dataset['dataset']]
        if 'dataset' in dataset
        else list(dataset.get('datasets', ()))
    )


def leaves(dataset: dict) -> Iterator[dict]:
    """The data sets within all wrappers."""
    if not inner(dataset):
        yield dataset
    for part in inner(dataset):
        yield from leaves(part)


def pipeline_of(dataset: dict) -> List[dict]:
    """All transforms of the first leaf, those of the wrappers last."""
    before = [
        step for part in inner(dataset)[:1] for step in pipeline_of(part)
    ]
    return before + list(dataset.get('pipeline') or ())


def without(cfg: Any, option: str) -> Any:
    """A config without an option, wherever that stands in it."""
    if isinstance(cfg, dict):
        return {
            key: without(value, option)
            for key, value in cfg.items()
            if key != option
        }
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(without(part, option) for part in cfg)
    return cfg


def start(image: np.ndarray) -> dict:
    """Results of a loaded photo."""
    return dict(
        img=image,
        img_shape=image.shape[:2],
        ori_shape=image.shape[:2],
        img_path='photo',
        seg_fields=[],
    )


def noise(cfg: Config) -> np.ndarray:
    """An image (61, 47, ...) of noise, of the labeled images' kind."""
    kind, channels, most = np.dtype('uint8'), (3,), 255
    try:
        leaf = next(leaves(cfg.train_dataloader.dataset))
        leaf = DATASETS.build(copy.deepcopy(leaf))
        image = leaf.pipeline.transforms[0](leaf.get_data_info(0))['img']
        kind, channels = image.dtype, image.shape[2:]
        most = image.max() or most
    except Exception:
        pass  # the data check says what is wrong with them
    image = np.random.default_rng(0).random((61, 47, *channels))
    return (image * most).astype(kind)


def tried(step: dict, results: dict) -> Iterator[dict]:
    """Results of one transform, time and again."""
    transform = TRANSFORMS.build(copy.deepcopy(step))
    for trial in range(TRIALS):
        random.seed(trial)
        np.random.seed(trial)
        yield transform(copy.deepcopy(results))


def effect(step: dict, photo: dict) -> Tuple[str, Any]:
    """What a transform does to a photo.

    Args:
        step (dict): Its config.
        photo (dict): What it gets.

    Returns:
        tuple[str, Any]: ``'moves'``, if pixels go elsewhere, or
        ``'same'``, if each photo is treated alike, both with its results;
        ``'colors'``, if colors change at random; ``'packs'``, if no image is
        left; or ``'fails'``, with the error.
    """
    try:
        seen = set()
        for results in tried(step, photo):
            if 'img' not in results:
                return 'packs', None
            seen.add(results['img'].tobytes())
            if results['img'].shape != photo['img'].shape:
                return 'moves', results
        given = probe(photo, photo['img_shape'], seed=0, first=1)
        if any(
            moved(pixels(given), pixels(made), range(1, 1 + GROUPS))
            for made in tried(step, given)
        ):
            return 'moves', results
    except Exception as error:
        return 'fails', error
    return ('same', results) if len(seen) == 1 else ('colors', None)


def photo_steps(
    cfg: Config, notes: List[str]
) -> Tuple[List[dict], np.ndarray]:
    """The labeled pipeline, as far as it suits photos, and what it makes."""
    load, *steps = pipeline_of(cfg.train_dataloader.dataset)
    kept, colors, masks = [load], [], []
    image = noise(cfg)
    photo = start(image)
    for step in steps:
        name, plain = name_of(step), without(step, 'cat_max_ratio')
        if 'cat_max_ratio' in str(step):
            masks.append(f'cat_max_ratio of {name}')
        if name == 'Pad':
            notes.append(
                'The data preprocessor pads in place of Pad, and '
                'keeps padding out of the unsupervised loss.'
            )
            continue
        does, results = effect(plain, photo)
        if does in ('moves', 'same'):
            kept.append(plain)
            made = results['img']
            if depth(made) != depth(image):
                image = np.resize(made, (*image.shape[:2], *made.shape[2:]))
            photo = {**results, **start(image)}
        elif does == 'colors':
            colors.append(name)
        elif does == 'fails':
            masks.append(
                name
                + (
                    ''
                    if 'seg_map' in str(results) or not str(results)
                    else f' ({reason(results)})'
                )
            )
    if masks:
        notes.append(
            'Left out for the photos, which have no masks: '
            f'{", ".join(masks)}.'
        )
    if colors:
        notes.append(
            'The strong view of the photos takes the place of '
            f'{", ".join(colors)}.'
        )
    return kept, image


def pad_size(cfg: Config) -> Optional[Tuple[int, int]]:
    """Height and width of the last Pad of the labeled images."""
    sizes = [
        step['size']
        for step in pipeline_of(cfg.train_dataloader.dataset)
        if name_of(step) == 'Pad' and step.get('size')
    ]
    return sizes[-1][::-1] if sizes else None  # mmcv has the width first


def output_size(steps: List[dict]) -> Optional[Tuple[int, int]]:
    """Height and width of all images after the transforms, if they agree."""
    shapes = set()
    try:
        for trial, shape in enumerate([(900, 1300), (1300, 900)] * 2):
            random.seed(trial)
            np.random.seed(trial)
            results = start(np.zeros((*shape, 3), np.uint8))
            for step in steps[1:]:
                results = TRANSFORMS.build(copy.deepcopy(step))(results)
            shapes.add(results['img'].shape[:2])
    except Exception:
        shapes.clear()  # such as images of other channels
    if len(shapes) == 1:
        return shapes.pop()
    for step in reversed(steps):
        if step.get('crop_size'):  # which small images do not have
            size = step['crop_size']
            return (size, size) if isinstance(size, int) else tuple(size)
    return None


def common_size(
    cfg: Config, steps: List[dict], asked: Optional[Sequence[int]]
) -> Tuple[int, int]:
    """Size of all training images; the photos are cropped if need be.

    SystemExit where it is not known.
    """
    size = output_size(steps) or pad_size(cfg)
    if size and asked:
        raise SystemExit(
            f'The config makes all images {size[0]} x {size[1]} '
            'already: leave --crop out'
        )
    if size:
        return size
    size = asked or (cfg.model.get('data_preprocessor') or {}).get('size')
    if not size:
        raise SystemExit(
            'The images of a batch must have one size, but the pipeline has '
            'no RandomCrop, and model.data_preprocessor no size: give --crop '
            'HEIGHT WIDTH'
        )
    steps.append(dict(type='RandomCrop', crop_size=tuple(size)))
    return tuple(size)


def cropped(dataset: dict, size: Tuple[int, int]) -> dict:
    """A data set that crops its images before it packs them."""
    parts = [cropped(part, size) for part in inner(dataset)]
    if 'pipeline' in dataset:
        *steps, pack = dataset['pipeline']
        return dict(
            dataset,
            pipeline=[*steps, dict(type='RandomCrop', crop_size=size), pack],
        )
    if 'dataset' in dataset:
        return dict(dataset, dataset=parts[0])
    return dict(dataset, datasets=parts)


def padding(cfg: Config, size: Tuple[int, int]) -> dict:
    """Options of a data preprocessor that pads all images to one size."""
    own = cfg.model.get('data_preprocessor') or {}
    if own.get('size'):
        return {}
    pads = [
        step
        for step in pipeline_of(cfg.train_dataloader.dataset)
        if name_of(step) == 'Pad'
    ]
    divisor = max(step.get('size_divisor') or 1 for step in (own, *pads))
    size = tuple(math.ceil(x / divisor) * divisor for x in size)
    # mmseg takes one of the two
    return dict(
        size=size,
        **(dict(size_divisor=None) if own.get('size_divisor') else {}),
    )


# ---- the PS-MT config ----


def labeled_code(out: Written, dataset: dict, ref: str) -> str:
    """Code of the labeled data set: what is inherited, without Pad."""
    steps = [
        step
        for step in dataset.get('pipeline') or ()
        if name_of(step) != 'Pad'
    ]
    words = []
    if len(steps) < len(dataset.get('pipeline') or ()):
        words.append(f'pipeline={out.literal(steps)}')
    refs = [
        f"{ref}['dataset']"
        if 'dataset' in dataset
        else f"{ref}['datasets'][{i}]"
        for i in range(len(inner(dataset)))
    ]
    parts = [labeled_code(out, *pair) for pair in zip(inner(dataset), refs)]
    if parts != refs:
        words.append(
            f'dataset={parts[0]}'
            if 'dataset' in dataset
            else f'datasets=[{", ".join(parts)}]'
        )
    return f'dict({ref}, {", ".join(words)})' if words else ref


def set_imports_and_hooks(out: Written, cfg: Config) -> None:
    old = (cfg.get('custom_imports') or {}).get('imports') or []
    others = [
        name
        for name in ([old] if isinstance(old, str) else old)
        if name != 'mmseg_psmt'
    ]
    out.set(
        'custom_imports',
        out.literal(dict(imports=[*others, 'mmseg_psmt']))
        if others
        else out.ref('psmt.imports'),
    )
    hooks = out.ref('psmt.hooks')
    if cfg.get('custom_hooks'):
        hooks = f'[*{out.ref("custom_hooks")}, *{hooks}]'
    out.set('custom_hooks', hooks)
    save = name_of((cfg.get('default_hooks') or {}).get('checkpoint'))
    if save in ('', 'CheckpointHook', 'ReliableCheckpointHook'):
        out.set(
            'default_hooks', f'dict(checkpoint={out.ref("psmt.checkpoint")})'
        )


def set_model(out: Written, cfg: Config, pad: dict) -> None:
    own = f'data_preprocessor={out.literal(pad)}, ' if pad else ''
    code = f'**{out.ref("psmt.model")}, {own}segmentor={out.ref("model")})'
    out.lines.append(
        'model = dict(' + ('' if out.pure else '_delete_=True, ') + code
    )
    kind = cfg.optim_wrapper.get('constructor')
    if isinstance(kind, str):
        kind = OPTIM_WRAPPER_CONSTRUCTORS.get(kind)
    if kind is None or not issubclass(
        kind, LearningRateDecayOptimizerConstructor
    ):
        return
    if kind.__module__.startswith('mmseg.'):
        out.set(
            'optim_wrapper',
            "dict(constructor='PSMTLayerDecayOptimizerConstructor')",
        )
    else:
        out.notes.append(
            f'{kind.__name__} may not find the layers of the student, whose '
            "names begin with 'segmentor.': derive it from "
            'PSMTLayerDecayOptimizerConstructor.'
        )


def with_miou(evaluator: Any) -> Any:
    """Evaluators whose IoUMetric measures mIoU, among others."""
    if isinstance(evaluator, (list, tuple)):
        return [with_miou(part) for part in evaluator]
    metrics = (evaluator or {}).get('iou_metrics', ['mIoU'])
    if name_of(evaluator) not in SCORES or 'mIoU' in metrics:
        return evaluator
    metrics = [metrics] if isinstance(metrics, str) else metrics
    return dict(evaluator, iou_metrics=[*metrics, 'mIoU'])


def set_evaluators(out: Written, cfg: Config) -> None:
    """Let mmseg's IoUMetric score teachers and student."""
    for name in ('val_evaluator', 'test_evaluator'):
        old, ref = cfg.get(name), out.ref(name)
        psmt = out.ref('psmt.evaluator')
        if not old:
            continue
        listed = isinstance(old, (list, tuple))
        scores = [
            name_of(part) in SCORES for part in (old if listed else [old])
        ]
        if not any(scores):
            out.notes.append(
                f'{name} has no IoUMetric, and scores the teachers alone.'
            )
        elif name == 'test_evaluator' and old == cfg.get('val_evaluator'):
            out.set(name, 'val_evaluator')
        elif listed:
            parts = [
                f'dict({ref}[{i}], **{psmt})' if score else f'{ref}[{i}]'
                for i, score in enumerate(scores)
            ]
            out.set(name, f'[{", ".join(parts)}]')
        else:
            out.set(name, psmt)


def set_data(
    out: Written,
    cfg: Config,
    labeled: dict,
    images: Any,
    steps: List[dict],
    image: np.ndarray,
) -> None:
    name = 'photos'
    while name in cfg:
        name = f'my_{name}'
    views = out.ref('psmt.unlabeled_views')
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        strong = ', '.join(map(out.literal, ANY_CHANNELS))
        views = f'dict({views}, strong=[{strong}])'
        out.notes.append(
            'The strong view changes neither saturation nor hue, which are '
            'of 8-bit color images.'
        )
    pipeline = [*map(out.literal, steps), views]
    out.lines.append(
        f"{name} = dict(type='UnlabeledFolder', images={images!r}, "
        f'pipeline=[{", ".join(pipeline)}])'
    )
    loader = cfg.train_dataloader
    ref = out.ref('train_dataloader.dataset')
    while name_of(labeled) == 'RepeatDataset':  # PairSampler is endless
        labeled, ref = labeled['dataset'], f"{ref}['dataset']"
    words = [
        f'{key}=None'
        for key in ('batch_sampler', 'num_batch_per_epoch')
        if loader.get(key)
    ]
    if words or name_of(loader.get('sampler')) not in (
        'InfiniteSampler',
        'DefaultSampler',
    ):
        out.notes.append(
            'PairSampler, which shuffles both lists, takes the '
            'place of your sampler.'
        )
    delete = '_delete_=True, ' if loader.get('sampler') else ''
    words += [
        f'sampler=dict({delete}**{out.ref("psmt.sampler")})',
        "dataset=dict(_delete_=True, type='SemiSegDataset', labeled="
        f'{labeled_code(out, labeled, ref)}, unlabeled={name})',
    ]
    out.set('train_dataloader', f'dict({", ".join(words)})')


def find_photos(given: Sequence[str]) -> Any:
    """What UnlabeledFolder takes; SystemExit where there is no image."""
    paths = [os.path.normpath(path) for path in given]
    images = paths[0] if len(paths) == 1 else paths
    try:
        UnlabeledFolder(images, pipeline=[], lazy_init=True).load_data_list()
    except Exception as error:
        raise SystemExit(f'--unlabeled: {error}')
    return images


def refuse_to_overwrite(args: argparse.Namespace, twin: Path) -> None:
    """SystemExit where a file exists that is not to be lost."""
    for path in (args.out, twin):
        if path.resolve() == args.config.resolve():
            raise SystemExit(
                f'{path} is the config itself: choose another --out'
            )
        if path.exists() and not args.force:
            raise SystemExit(
                f'{path} exists: choose another --out, or give '
                '--force to overwrite it'
            )


def convert(args: argparse.Namespace) -> Tuple[Written, Written]:
    """The twin and the PS-MT config, written."""
    twin_path = args.out.with_name(f'{args.out.stem}_supervised.py')
    refuse_to_overwrite(args, twin_path)
    cfg, images = load(args.config), find_photos(args.unlabeled)
    register_all_modules(init_default_scope=False)
    init_default_scope(cfg.get('default_scope') or 'mmseg')
    pure = is_pure_python(args.config)
    twin, out = (Written(path, cfg, pure) for path in (twin_path, args.out))

    changes = convert_schedule(cfg, args.max_iters, args.gpus, twin.notes)
    if not cfg.get('default_scope'):
        changes['default_scope'] = 'mmseg'
    for name in ('val_evaluator', 'test_evaluator'):
        new = with_miou(cfg.get(name))
        if new != cfg.get(name):
            changes[name] = new
            twin.notes.append(f'{name} measures mIoU, too.')
    labeled = cfg.train_dataloader.dataset
    steps, image = photo_steps(cfg, out.notes)
    first, *others = map(pipeline_of, leaves(labeled))
    if any(pipeline != first for pipeline in others):
        out.notes.append(
            'The labeled data sets have several pipelines: the '
            'photos have the first.'
        )
    size = common_size(cfg, steps, args.crop)
    pad = padding(cfg, size)
    if args.crop:
        twin.notes.append(f'All images are cropped to {size[0]} x {size[1]}.')
        labeled = cropped(labeled, size)
        changes.setdefault('train_dataloader', {})['dataset'] = dict(
            _delete_=True, **labeled
        )
        changes['model'] = dict(data_preprocessor={'size': size, **pad})
        pad = {}
    for name, value in changes.items():
        twin.set(name, twin.literal(value))

    set_imports_and_hooks(out, cfg)
    set_model(out, cfg, pad)
    set_evaluators(out, cfg)
    set_data(out, cfg, labeled, images, steps, image)
    for written in (twin, out):
        if cfg.get('work_dir'):
            written.set('work_dir', repr(written.work_dir))
    write(twin, f'The supervised twin of {out.path.name}.', args.config)
    # a twin that changes nothing is inherited by nobody
    write(
        out,
        f'PS-MT on {args.config.name}, see docs/custom_data.md. Its '
        f'supervised twin is {twin.path.name}.',
        twin.path if changes else args.config,
        *([] if 'psmt' in cfg else [PSMT]),
    )
    return twin, out


def write(written: Written, title: str, *bases: Path) -> None:
    """Write a config, and say what there is to know of it.

    SystemExit where it cannot import a base.
    """
    try:
        text = written.text(title, *bases)
    except ValueError as error:
        raise SystemExit(
            f'{bases[0]} is in pure Python, so {written.path} must import '
            f'it, but {error}: rename that, or give --out a file beside the '
            'config'
        )
    written.path.parent.mkdir(parents=True, exist_ok=True)
    written.path.write_text(text, encoding='utf-8')
    print(f'{written.path}: {title}', *written.notes, sep='\n- ')


def check(path: Path, gpus: int) -> Any:
    """Exit code, or last words, of the data check."""
    argv = sys.argv
    sys.argv = ['check_data.py', str(path), '--gpus', str(gpus)]
    try:
        runpy.run_path(str(TOOLS / 'check_data.py'), run_name='__main__')
    except SystemExit as error:
        return error.code
    finally:
        sys.argv = argv


def commands(twin: Written, out: Written, gpus: int) -> Iterator[str]:
    """The two trainings, and their comparison."""
    for written in (twin, out):
        path = str(written.path)
        yield shlex.join(
            [*command('train'), path]
            if gpus == 1
            else [*command('dist_train'), path, str(gpus)]
        )
    if twin.base.get('val_dataloader'):
        runs = (twin.work_dir, out.work_dir)
        yield shlex.join([*command('results'), '--validation', *runs])


def main() -> None:
    args = parse_args()
    twin, out = convert(args)
    print()
    failed = check(out.path, args.gpus)
    if failed:
        print(*[failed] if isinstance(failed, str) else [])
        print(
            f'\nFix this until tools/check_data.py {out.path} says "fit". '
            'Then train both, and compare them:'
        )
    else:
        print('\nTrain both, and compare them:')
    print(*commands(twin, out, args.gpus), sep='\n')
    if not out.base.get('val_dataloader'):
        print('The config has no val_dataloader: add one to compare the two')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
