"""Pictures of images, labels and confidence, side by side."""

import colorsys
from typing import Any, Dict, List, Optional, Sequence

import cv2
import numpy as np

BAR = 20  # pixels of the bar with the names of the columns


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


def sheet(columns: Dict[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Columns of pictures below their names; small ones are enlarged.

    Args:
        columns (dict[str, Sequence[np.ndarray]]): Pictures (H, W, 3), uint8,
            of any sizes, from top to bottom.

    Returns:
        np.ndarray: uint8 RGB (H, W, 3), white where there is nothing.
    """
    cells = [cell for column in columns.values() for cell in column]
    height, width = np.max([cell.shape[:2] for cell in cells], axis=0)
    zoom = max(1, 160 // width)
    height, width = height * zoom, width * zoom
    drawn: List[np.ndarray] = []
    for name, column in columns.items():
        strip = np.full((BAR + len(column) * height, width, 3), 255, np.uint8)
        cv2.putText(
            strip,
            name,
            (3, 14),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
        for i, cell in enumerate(column):
            cell = cell.repeat(zoom, 0).repeat(zoom, 1)
            top = BAR + i * height
            strip[top : top + cell.shape[0], : cell.shape[1]] = cell
        drawn.append(strip)
    rows = max(len(strip) for strip in drawn)
    return np.hstack(
        [
            np.pad(
                strip,
                ((0, rows - len(strip)), (0, 0), (0, 0)),
                constant_values=255,
            )
            for strip in drawn
        ]
    )
