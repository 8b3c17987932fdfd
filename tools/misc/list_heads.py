"""Write docs/heads.md: what PS-MT does with each decode head of mmseg."""

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('docs/heads.md'),
        help='page to write. Default docs/heads.md',
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

from mmseg.models import decode_heads

from mmseg_psmt.models.heads import INPUTS, REFUSED, SITES

TITLE = """# Decode heads

Written by `python tools/misc/list_heads.py`. Each row that is not refused is
tested on a stock config of mmseg with random weights: what the head predicts
must be what is decoded from the feature that enters the site, and PS-MT must
train it (`tests/test_models/test_heads.py`). Of two sites the first that the
head has counts.

T-VAT perturbs the feature in front of the *site*, a submodule of the head; the
teachers decode it with the site and `cls_seg`. `model.perturb_at` names
another site; `'conv_seg'` is the last feature of every head that ends in
`cls_seg`, and `'inputs'` are all features that enter the head, which is then
run again; heads that take more or other things than a list of features (DDR,
PID, DPT, the last of a cascade) cannot be. A head that is not mmseg's, such as
your own, is run again. A site of your choice is checked in the first iteration
after the warm-up.
"""


def verdict(head: str) -> str:
    """Cells of a row: the site, and how a feature is decoded."""
    if head in REFUSED:
        return f'– | refused: {REFUSED[head]}'
    if head == 'PointHead':
        return (
            "as in the head that it refines | that head's `cls_seg`; "
            'pseudo labels are the refined logits'
        )
    if head not in SITES:
        return f'`{INPUTS}` | the head is run again'
    sites = ' or '.join(f'`{site}`' for site in SITES[head])
    how = (
        'its last feature, the classifier alone'
        if sites == '`conv_seg`'
        else 'site, then `cls_seg`'
    )
    return f'{sites} | {how}'


def page() -> str:
    """Markdown."""
    rows = ['| decode head | site | decoded by |', '|---|---|---|']
    # KernelUpdateHead is a part of IterativeDecodeHead.
    for head in sorted({*decode_heads.__all__} - {'KernelUpdateHead'}):
        if head.endswith('Head'):
            rows.append(f'| `{head}` | {verdict(head)} |')
    return '\n'.join([TITLE, *rows, ''])


def main() -> None:
    out = parse_args().out
    try:
        out.write_text(page())
    except OSError as error:
        raise SystemExit(f'{out} cannot be written: {error}')


if __name__ == '__main__':
    main()
