"""Export a net of a PS-MT checkpoint as a plain model of mmseg."""

import argparse
import ast
import tempfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Dict, List, Set

from mmengine.config import Config

NETS = {
    'student': ['segmentor.'],
    'teacher1': ['teachers.0.'],
    'teacher2': ['teachers.1.'],
    'teachers': ['teachers.0.', 'teachers.1.'],
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write one net of a PS-MT checkpoint as the plain '
        'segmentor that it is, without optimizer state, and beside it the '
        'config that goes with it. Neither needs this project any more, '
        'unless the network or its data have a part of it, such as DPTNeck '
        'or ColorsToIds.'
    )
    parser.add_argument('checkpoint', type=Path, help='from tools/train.py')
    parser.add_argument(
        'out', type=Path, help='a new .pth file; its config ends in .py'
    )
    parser.add_argument(
        '--which',
        choices=NETS,
        default='teachers',
        help="'teachers' averages the weights of both: one network, where "
        'PS-MT predicts with the mean logits of two. Both are then tested, '
        'and the difference is printed. Default: teachers',
    )
    parser.add_argument(
        '--no-test',
        action='store_true',
        help="do not test what the average of 'teachers' costs",
    )
    args = parser.parse_args()
    if args.out.suffix != '.pth':
        parser.error(f'OUT must end in .pth, got {args.out}')
    for path in (args.out, args.out.with_suffix('.py')):
        if path.exists():
            parser.error(f'{path} exists: remove it or choose another OUT')
    for path in args.out.parents:
        if path.is_file():
            parser.error(f'{path} is not a folder: choose another OUT')
    if not args.checkpoint.is_file():
        parser.error(f'{args.checkpoint} does not exist')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports

import torch
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.models.backbones import TIMMBackbone
from mmseg.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
from mmseg.utils import register_all_modules
from torch import Tensor

from mmseg_psmt.engine.hooks import ReliableCheckpointHook
from mmseg_psmt.evaluation import TeacherStudentIoUMetric
from mmseg_psmt.launch import forbid_code_in_checkpoints, quiet_logs
from mmseg_psmt.models import PSMT
from mmseg_psmt.models.data_preprocessor import merge_options
from mmseg_psmt.options import is_type
from mmseg_psmt.stack import loads_data_alone

# What testing, inference and test-time augmentation need.
KEPT = (
    'default_scope',
    'env_cfg',
    'log_level',
    'log_processor',
    'default_hooks',
    'vis_backends',
    'visualizer',
    'test_pipeline',
    'tta_pipeline',
    'tta_model',
    'val_dataloader',
    'val_cfg',
    'test_dataloader',
    'test_cfg',
    'randomness',
)


class DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)`` into ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if getattr(node.func, 'id', None) != 'dict':
            return node
        if node.args:
            return node.args[0]
        return ast.Dict(  # a key of None, from **, is refused later
            [word.arg and ast.Constant(word.arg) for word in node.keywords],
            [word.value for word in node.keywords],
        )


def config_of(text: str) -> Config:
    """The config in a checkpoint, of which no code is run.

    Raises:
        SyntaxError, ValueError: If it is more than names and values.
    """
    return Config(
        {
            line.targets[0].id: ast.literal_eval(DictCalls().visit(line.value))
            for line in ast.parse(text).body
        }
    )


def plain_weights(
    state_dict: Dict[str, Tensor], prefixes: List[str]
) -> Dict[str, Tensor]:
    """Weights without prefix, the mean of several nets where there are."""
    nets = [
        {
            name.removeprefix(prefix): value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        for prefix in prefixes
    ]
    nets = [net for net in nets if net]
    if not nets:
        raise SystemExit(
            f'The checkpoint has no weights {prefixes[0]}*: it '
            'has fewer teachers'
        )
    return {
        name: torch.stack([net[name] for net in nets]).mean(dim=0)
        if value.is_floating_point() and len(nets) > 1
        else value
        for name, value in nets[0].items()
    }


def own_types(cfg: Any) -> Set[str]:
    """Names of the types in a config that are of this project."""
    if isinstance(cfg, (list, tuple)):
        return set().union(*map(own_types, cfg))
    if not isinstance(cfg, dict):
        return set()
    found = own_types([*cfg.values()])
    *scope, name = str(cfg.get('type')).split('.')
    if scope[:1] in ([], ['mmseg'], ['mmseg_psmt']):
        parts = [
            registry.module_dict.get(name)
            for registry in (MODELS, TRANSFORMS, METRICS, DATASETS, HOOKS)
        ]
        found |= {
            name
            for part in parts
            # a class of another name replaces mmseg's own
            if getattr(part, '__name__', '') == name
            and part.__module__.startswith('mmseg_psmt.')
        }
    return found


def without_scope(cfg: Any) -> Any:
    """A config without the scope that bases of this package leave in it."""
    if isinstance(cfg, dict):
        return {
            key: without_scope(value)
            for key, value in cfg.items()
            if (key, value) != ('_scope_', 'mmseg_psmt')
        }
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(map(without_scope, cfg))
    return cfg


def plain_config(cfg: Config) -> Config:
    """Config of the segmentor alone, to test it and to predict with it."""
    model = cfg.model.segmentor
    stock = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    model.data_preprocessor = {
        **merge_options(stock, cfg.model.get('data_preprocessor')),
        'type': 'SegDataPreProcessor',
    }
    model.data_preprocessor.pop('mask_padding', None)
    if is_type(MODELS, model.backbone.type, TIMMBackbone):
        # its constructor would load them before the exported ones
        model.backbone.pretrained = False
        for key in ('checkpoint_path', 'pretrained_cfg_overlay'):
            model.backbone.pop(key, None)
    plain = {key: cfg[key] for key in KEPT if key in cfg}
    if 'test_pipeline' not in plain and cfg.get('test_dataloader'):
        # inference_model reads it
        plain['test_pipeline'] = cfg.test_dataloader.dataset.get('pipeline')
    for key in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(key)
        if not metrics:
            continue
        listed = isinstance(metrics, list)
        stock = [
            {**metric, 'type': 'IoUMetric'}
            if is_type(METRICS, metric.type, TeacherStudentIoUMetric)
            else metric
            for metric in (metrics if listed else [metrics])
        ]
        plain[key] = stock if listed else stock[0]
    for hook in cfg.get('default_hooks', {}).values():
        if hook and is_type(HOOKS, hook.type, ReliableCheckpointHook):
            hook.type = 'CheckpointHook'
    imports = cfg.get('custom_imports', {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else imports
    imports = [name for name in imports if name != 'mmseg_psmt']
    if own_types([model, plain]):
        imports.append('mmseg_psmt')
    if imports:
        plain['custom_imports'] = {
            **cfg.get('custom_imports', {}),
            'imports': imports,
        }
    return Config(without_scope(dict(model=model, **plain)))


def test(cfg: Config, checkpoint: Path, work_dir: str) -> float:
    """mIoU of a checkpoint on the test set of a config."""
    cfg = cfg.copy()
    for key in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
        'auto_scale_lr',
        'custom_hooks',
    ):
        cfg[key] = None
    cfg.update(
        work_dir=work_dir,
        load_from=str(checkpoint),
        resume=False,
        launcher='none',
        log_level='WARNING',
        test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
    )
    return Runner.from_cfg(cfg).test()['mIoU']


def main() -> None:
    args = parse_args()
    register_all_modules()
    forbid_code_in_checkpoints()
    try:
        checkpoint = torch.load(
            args.checkpoint,
            map_location='cpu',
            weights_only=loads_data_alone(),
        )
    except (
        EOFError,
        OSError,
        RuntimeError,
        UnpicklingError,
        ValueError,
    ) as error:
        why = str(error).rpartition('WeightsUnpickler error: ')[2]
        raise SystemExit(
            f'{args.checkpoint} is damaged or holds more than data, which is '
            f'never loaded here: {why.partition(". ")[0]}'
        )
    try:
        cfg = config_of(checkpoint['meta']['cfg'])
        kind = cfg.model.type
    except (
        AttributeError,
        KeyError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as error:
        raise SystemExit(
            f'{args.checkpoint} holds no config ({error!r}): '
            'give a checkpoint that tools/train.py wrote'
        )
    if not is_type(MODELS, kind, PSMT):
        raise SystemExit(
            f'{args.checkpoint} holds no PS-MT model but '
            f'model.type={kind!r}: give a checkpoint '
            'that tools/train.py wrote'
        )
    weights = plain_weights(checkpoint['state_dict'], NETS[args.which])
    plain = plain_config(cfg.copy())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    meta = {**checkpoint['meta'], 'cfg': plain.pretty_text}
    torch.save(dict(meta=meta, state_dict=weights), args.out)
    plain.dump(args.out.with_suffix('.py'))
    print(
        f'{args.out} holds {args.which} of {args.checkpoint}; its config '
        f'is {args.out.with_suffix(".py")}'
    )
    own = own_types(plain.to_dict())
    if own:
        print(f'It imports mmseg_psmt, for {", ".join(sorted(own))}.')

    num = (cfg.model.get('teachers') or {}).get('num', 2)
    if args.which != 'teachers' or num == 1:
        return
    print(
        'It is the average of the weights of both teachers: one pass '
        'instead of the two whose logits PS-MT averages.'
    )
    if args.no_test or not cfg.get('test_dataloader'):
        print('What that does to the mIoU was not tested.')
        return
    if 'custom_imports' in cfg:
        import_modules_from_strings(**cfg.custom_imports)
    cfg.model.predict_with = 'teachers'
    try:
        with tempfile.TemporaryDirectory() as work_dir, quiet_logs():
            ensemble = test(cfg, args.checkpoint, work_dir)
            average = test(plain, args.out, work_dir)
    except (AssertionError, FileNotFoundError) as error:  # no such data here
        print(f'What that does to the mIoU could not be tested: {error}')
        return
    print(
        f'mIoU on the test set: two passes {ensemble:.2f}, the exported '
        f'average {average:.2f} ({average - ensemble:+.2f})'
    )


if __name__ == '__main__':
    main()
