"""Draw a small semi-supervised segmentation data set in the VOC layout.

The form of a shape alone decides its class. Shapes are vivid on dull ground,
as is the clutter, which is background; colors, textures, sizes, places,
light and noise vary independently of the class.
"""

import argparse
import json
import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASSES = ('background', 'disc', 'square', 'triangle', 'ring', 'cross')
PALETTE = [
    [0, 0, 0],
    [128, 0, 0],
    [0, 128, 0],
    [128, 128, 0],
    [0, 0, 128],
    [128, 0, 128],
]
FORMS = len(CLASSES) - 1
SCALE = 4  # forms are drawn this many times larger, then averaged


def polar(num: int, radius: float | np.ndarray, start: float) -> np.ndarray:
    """Points around the origin, the first at ``start`` of a full turn."""
    angle = 2 * np.pi * (np.arange(num) / num + start)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * np.c_[radius]


def outline(rng: np.random.Generator, label: int) -> list[np.ndarray]:
    """Contours of one form in about the unit circle; a second is a hole."""
    name = CLASSES[label]
    if name == 'disc':
        return [polar(64, 0.9, 0)]
    if name == 'square':
        return [polar(4, 1.1, 1 / 8)]
    if name == 'triangle':
        return [polar(3, 1.1, -1 / 4)]
    if name == 'ring':
        return [polar(64, 0.9, 0), polar(64, rng.uniform(0.4, 0.6), 0)]
    if name == 'cross':
        a = rng.uniform(0.25, 0.35)
        arm = np.array([[a, a], [a, 1], [-a, 1]])
        turn = np.array([[0, 1], [-1, 0]])
        return [np.concatenate([arm, arm @ turn, -arm, -arm @ turn])]
    # background clutter: a smooth blob
    wave = sum(
        rng.uniform(-0.3, 0.3)
        / k
        * np.cos(2 * np.pi * k * np.arange(64) / 64 + rng.uniform(0, 6.3))
        for k in range(2, 6)
    )
    return [polar(64, 0.7 + wave, 0)]


def coverage(
    rng: np.random.Generator,
    label: int,
    center: np.ndarray,
    radius: float,
    size: int,
) -> np.ndarray:
    """Share of each pixel that one slightly turned form covers."""
    turn, squeeze = rng.uniform(-0.3, 0.3), rng.uniform(0.85, 1, 2)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = radius * np.array([[cos, -sin], [sin, cos]]) * squeeze
    contours = [
        np.rint((points @ matrix.T + center) * SCALE).astype(np.int32)
        for points in outline(rng, label)
    ]
    canvas = np.zeros((size * SCALE, size * SCALE), np.float32)
    cv2.fillPoly(canvas, contours, 1)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def texture(rng: np.random.Generator, size: int, vivid: bool) -> np.ndarray:
    """Two near colors mixed by a random pattern, (size, size, 3)."""
    grid = np.mgrid[:size, :size]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 16)
    phase = rng.uniform(0, 2 * np.pi, 2)
    across = np.cos(angle) * grid[0] + np.sin(angle) * grid[1]
    along = np.cos(angle) * grid[1] - np.sin(angle) * grid[0]
    wave = np.sin(2 * np.pi * across / period + phase[0])
    kind = rng.choice(['stripes', 'checks', 'noise', 'gradient', 'plain'])
    if kind == 'stripes':
        mix = np.clip(2 * wave, -1, 1)
    elif kind == 'checks':
        wave = wave * np.sin(2 * np.pi * along / period + phase[1])
        mix = np.clip(4 * wave, -1, 1)
    elif kind == 'noise':
        cells = rng.uniform(-1, 1, 2 * [int(size / period * 2) + 2])
        mix = cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
    elif kind == 'gradient':
        mix = np.sin(np.pi * across / size + phase[0])
    else:
        mix = np.zeros((size, size))
    if vivid:
        color = rng.permutation(rng.uniform([60, 60, 200], 255))
        change = rng.uniform(-40, 40, 3)
    else:
        color = rng.uniform(20, 90) + rng.uniform(-20, 20, 3)
        change = rng.uniform(-25, 25, 3)
    return color + change * mix[..., None]


def draw(
    rng: np.random.Generator, size: int, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image and its mask.

    Args:
        rng (np.random.Generator): Source of all chance.
        size (int): Height and width in pixels.
        top (int): Class id of the shape that nothing else covers.

    Returns:
        tuple[np.ndarray, np.ndarray]: BGR image and class ids, both uint8.
    """
    image, mask = texture(rng, size, False), np.zeros((size, size), np.uint8)
    labels = [0] * rng.integers(0, 4)
    labels += [*rng.integers(1, FORMS + 1, rng.integers(2, 4)), top]
    placed = []
    for label in labels:
        radius = size * rng.uniform(*((0.16, 0.26) if label else (0.05, 0.14)))
        # of some places, take the one farthest from the shapes so far
        spots = rng.uniform(0.1, 0.9, (8, 2)) * size
        room = [
            min(
                (np.hypot(*(spot - other)) - reach for other, reach in placed),
                default=0,
            )
            for spot in spots
        ]
        center = spots[np.argmax(room)]
        if label:
            placed.append((center, radius))
        alpha = coverage(rng, label, center, radius, size)
        mask[alpha >= 0.5] = label
        image += alpha[..., None] * (texture(rng, size, True) - image)
    slope = rng.uniform(-0.5, 0.5, 2)
    light = 1 + np.tensordot(slope, np.mgrid[:size, :size] / size - 0.5, 1)
    image *= (light * rng.uniform(0.7, 1.1))[..., None]
    image += rng.normal(0, rng.uniform(2, 8), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write(out: Path, spec: dict) -> None:
    """Draw the whole set into ``out``, its ``meta.json`` last."""
    seed, share = spec['seed'], Fraction(spec['labeled'])
    lists = out / 'ImageSets' / 'Segmentation'
    semi = lists / 'semi' / f'{share.numerator}_{share.denominator}'
    for folder in (out / 'JPEGImages', out / 'SegmentationClass', semi):
        folder.mkdir(parents=True, exist_ok=True)

    for number, split in enumerate(('train', 'val')):
        names = [f'{split}_{i:05d}' for i in range(spec[f'num_{split}'])]
        (lists / f'{split}.txt').write_text('\n'.join(names) + '\n')
        for i, name in enumerate(names):
            rng = np.random.default_rng([seed, number, i])
            image, mask = draw(rng, spec['size'], 1 + i % FORMS)
            cv2.imwrite(
                str(out / 'JPEGImages' / f'{name}.jpg'),
                image,
                [cv2.IMWRITE_JPEG_QUALITY, 95],
            )
            label = Image.fromarray(mask).convert('P')
            label.putpalette(sum(PALETTE, []))
            label.save(out / 'SegmentationClass' / f'{name}.png')

    # the labeled ones: an image with each form on top, then any others
    total = spec['num_train']
    order = np.random.default_rng([seed, 2, 0]).permutation(total).tolist()
    first = [next(i for i in order if i % FORMS == k) for k in range(FORMS)]
    order = first + [i for i in order if i not in first]
    count = int(total * share)
    for name, part in (
        ('labeled', order[:count]),
        ('unlabeled', order[count:]),
    ):
        (semi / f'{name}.txt').write_text(
            ''.join(f'train_{i:05d}\n' for i in sorted(part))
        )
    (semi / 'protocol.txt').write_text(f'drawn, seed {seed}\n')
    (out / 'meta.json').write_text(json.dumps(spec, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw a semi-supervised data set of textured shapes in '
        'the VOC layout. The same arguments give the same files.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path(os.environ.get('PSMT_DATA', 'data'), 'shapes'),
        help='folder to write; new, empty or the same set',
    )
    parser.add_argument(
        '--num-train',
        type=int,
        default=200,
        help='training images, labeled and unlabeled',
    )
    parser.add_argument(
        '--num-val', type=int, default=100, help='validation images'
    )
    parser.add_argument(
        '--labeled',
        default='1/8',
        help='labeled share of the training images; 1/8 is '
        'listed under ImageSets/Segmentation/semi/1_8',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=64,
        help='height and width of an image, at least 32',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of all chance, at least 0'
    )
    args = parser.parse_args()

    for name, least in dict(num_train=1, num_val=1, size=32, seed=0).items():
        if getattr(args, name) < least:
            parser.error(
                f'--{name.replace("_", "-")} must be at least '
                f'{least}, got {getattr(args, name)}'
            )
    try:
        share = Fraction(args.labeled)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share < 1:
        parser.error(
            '--labeled must be a share between 0 and 1 such as 1/8, '
            f'got {args.labeled}'
        )
    count = int(args.num_train * share)
    if count < FORMS:
        parser.error(
            f'{share} of {args.num_train} training images is '
            f'{count} labeled, but the {FORMS} shapes need one each'
        )
    args.labeled = str(share)
    return args


def main() -> None:
    args = parse_args()
    out = args.out
    spec = {key: value for key, value in vars(args).items() if key != 'out'}
    spec.update(classes=list(CLASSES), palette=PALETTE)
    for path in out.parents:
        if path.is_file():
            raise SystemExit(f'{path} is not a folder; choose another --out')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        meta = out / 'meta.json'
        if not meta.is_file() or json.loads(meta.read_text()) != spec:
            raise SystemExit(
                f'{out} holds something else than the set asked '
                'for; delete it or choose another --out'
            )
        print(f'{out} already holds this set; nothing to do')
        return
    write(out, spec)
    print(
        f'{out}: {args.num_train} train ({args.labeled} labeled) and '
        f'{args.num_val} val images of {args.size} px'
    )


if __name__ == '__main__':
    main()
