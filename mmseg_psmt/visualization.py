"""Sheets of images, labels and confidence, and curves of a training."""

import colorsys
from io import BytesIO
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 200  # pixels; a narrower picture is enlarged to more than half of it
GAP = 4  # pixels between pictures


def pictures(images: Any, mean: Any = 0.0, std: Any = 1.0) -> np.ndarray:
    """Images of any depth and number of channels, as a screen shows them.

    Three channels are colors. Of others a single one is gray, of two the
    first, and of more the first three are colors. What is not in 0 to 255,
    such as 16 bits or a range of 0 to 1, is stretched, all images alike.

    Args:
        images (Tensor | np.ndarray): (N, C, H, W).
        mean, std (Tensor | float): That they were normalized with, of the
            shape (C, 1, 1).

    Returns:
        np.ndarray: uint8 (N, H, W, 3).
    """
    images = images * std + mean
    if hasattr(images, 'detach'):
        images = images.detach().float().cpu().numpy()
    shown = 3 if images.shape[1] >= 3 else 1
    images = np.nan_to_num(images[:, :shown].astype(np.float64))
    low, high = (images.min(), images.max()) if images.size else (0, 255)
    if not (low > -1 and 1 < high < 256):
        images = (images - low) * (255 / max(high - low, 1e-12))
    images = images.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.repeat(images, 3 // shown, axis=3)


def palette_of(meta: Optional[dict], num_classes: int = 0) -> np.ndarray:
    """A color for each of 256 labels; white for what is no class.

    Args:
        meta (dict, optional): Of a data set. Classes without a color in its
            ``palette`` get one of their own.
        num_classes (int): Classes, unless ``meta`` names them.

    Returns:
        np.ndarray: uint8 (256, 3).
    """
    meta = meta or {}
    given = [*(meta.get('palette') or [])][:256]
    count = min(len(meta.get('classes') or []) or num_classes, 256)
    colors = np.full((256, 3), 255, np.uint8)
    for i in range(max(count, len(given))):
        hue = (i * 0.618) % 1  # neighbors differ
        colors[i] = (
            given[i]
            if i < len(given)
            else [255 * x for x in colorsys.hsv_to_rgb(hue, 0.8, 0.9)]
        )
    return colors


def painted(labels: Any, palette: np.ndarray) -> np.ndarray:
    """Labels (H, W) in their colors, uint8 (H, W, 3)."""
    labels = np.asarray(labels.cpu() if hasattr(labels, 'cpu') else labels)
    return palette[np.where((labels >= 0) & (labels < 256), labels, 255)]


def grays(shares: Any) -> np.ndarray:
    """Shares (H, W) from 0, black, to 1, white, as uint8 (H, W, 3)."""
    shares = np.asarray(shares.cpu() if hasattr(shares, 'cpu') else shares)
    gray = (np.nan_to_num(shares) * 255).clip(0, 255).astype(np.uint8)
    return np.dstack([gray] * 3)


def legend_of(
    meta: Optional[dict], num_classes: int = 0
) -> List[Tuple[str, np.ndarray]]:
    """Names and colors of the classes, for :func:`sheet`.

    Args:
        meta (dict, optional): Of a data set. Without names a class is a
            number.
        num_classes (int): See :func:`palette_of`.
    """
    names = (meta or {}).get('classes') or range(num_classes)
    return [*zip(map(str, names), palette_of(meta, num_classes))]


def sheet(
    columns: Dict[str, Sequence[np.ndarray]],
    title: str = '',
    rows: Sequence[str] = (),
    legend: Sequence[Tuple[str, Sequence[int]]] = (),
) -> np.ndarray:
    """Columns of pictures below their names; small ones are enlarged.

    The letters grow with the width, so that they can be read wherever the
    sheet is shown at 1,000 pixels.

    Args:
        columns (dict[str, Sequence[np.ndarray]]): Pictures (H, W, 3), uint8,
            of any sizes, from top to bottom. A name may have several lines.
        title (str): Above all.
        rows (Sequence[str]): Names of the rows, above each.
        legend (Sequence[tuple[str, Sequence[int]]]): Names and colors, below.

    Returns:
        np.ndarray: uint8 RGB (H, W, 3), white where there is nothing.
    """
    cells = [cell for column in columns.values() for cell in column]
    height, width = np.max([cell.shape[:2] for cell in cells], axis=0)
    zoom = max(1, CELL // width)
    height, width = int(height * zoom), int(width * zoom)
    total = (width + GAP) * len(columns) - GAP
    font = _font(max(14, total // 66))
    line = 3 * font.size // 2
    names = [name.splitlines() for name in columns]
    top = line * (bool(title) + max(map(len, names)))
    step = height + (line if rows else GAP)
    x, y, places = 0, top + step * max(map(len, columns.values())), []
    y += line // 2 * bool(legend)
    for name, _ in legend:
        needs = 2 * line + int(font.getlength(name))
        if x and x + needs > total:
            x, y = 0, y + line
        places.append((x, y))
        x += needs
    canvas = Image.new('RGB', (total, y + line * bool(legend)), 'white')
    draw = ImageDraw.Draw(canvas)

    def write(x: int, y: int, text: str, right: int) -> None:
        while text and font.getlength(text) > right - x:
            text = f'{text[:-2]}…' if len(text) > 2 else ''
        draw.text((x, y + line // 2), text, 'black', font, 'lm')

    pad = line // 4
    write(pad, 0, title, total)
    for i, (lines, column) in enumerate(zip(names, columns.values())):
        left = i * (width + GAP)
        for k, text in enumerate(lines):
            y = line * (bool(title) + k)
            write(left + pad, y, text, left + width)
        for k, cell in enumerate(column):
            cell = Image.fromarray(cell.repeat(zoom, 0).repeat(zoom, 1))
            canvas.paste(cell, (left, top + (k + 1) * step - height))
    for k, name in enumerate(rows):
        write(pad, top + k * step, name, total)
    for (name, color), (x, y) in zip(legend, places):
        box = [x + pad, y + pad, x + line - pad, y + line - pad]
        draw.rectangle(box, tuple(map(int, color)), 'black')
        write(x + line, y, name, total)
    return np.array(canvas)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Letters of many scripts, which matplotlib brings along."""
    import matplotlib  # slow

    path = Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')
    return ImageFont.truetype(str(path), size)


def curves(panels: Dict[str, Sequence[Tuple[str, Dict[int, float]]]]) -> bytes:
    """Curves over the iterations, a panel below the other, as a PNG.

    Args:
        panels (dict[str, Sequence[tuple[str, dict[int, float]]]]): Curves of
            each panel, a name and values by iteration. Those of one name have
            one color and dash, which the first panel with that name explains.
            Panels without a value are left out.

    Returns:
        bytes: Empty if there is no value at all.
    """
    from matplotlib.figure import Figure  # slow

    panels = {
        title: [(name, points) for name, points in lines if points]
        for title, lines in panels.items()
        if any(points for _, points in lines)
    }
    if not panels:
        return b''
    figure = Figure((9, 0.5 + 2.8 * len(panels)), 110, layout='constrained')
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    numbers: Dict[str, int] = {}
    for axis, (title, lines) in zip(axes, panels.items()):
        for name, points in lines:
            known = name in numbers
            number = numbers.setdefault(name, len(numbers))
            axis.plot(
                [*points],
                [*points.values()],
                '.' + ('-', '--', ':', '-.')[number // 10 % 4],
                color=f'C{number % 10}',
                label='' if known else name,
            )
        axis.set_title(title, fontsize='medium', loc='left')
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize='small')
    axes[-1].set_xlabel('iteration')
    file = BytesIO()
    figure.savefig(file)
    return file.getvalue()
