"""CutMix and zoom: image, logits and mask must move as one."""

import numpy as np
import pytest
import torch

from mmseg_psmt.datasets import RandomZoom, TeacherGuidedCutMix
from mmseg_psmt.datasets.transforms.teacher_cutmix import inner_boxes

H, W = 24, 32


def coordinates(n, h=H, w=W):
    """Each pixel's image index, y and x, shape (N, 3, H, W)."""
    i, y, x = torch.meshgrid(
        torch.arange(n), torch.arange(h), torch.arange(w), indexing='ij'
    )
    return torch.stack([i, y, x], dim=1).float()


def batch(n):
    """Images and logits that hold coordinates, and a mask of ragged width."""
    where = coordinates(n)
    valid = where[:, 2] < W - 4 * (1 + where[:, 0])
    return where, torch.cat([where, -where], dim=1) + 1000, valid


def rng(seed=0):
    return np.random.default_rng(seed)


CUTMIX = [
    dict(),
    dict(num_boxes=3, area=(0.25, 0.5)),
    dict(num_boxes=3, beta=1.0, prob=0.5),
]


@pytest.mark.parametrize('options', CUTMIX)
@pytest.mark.parametrize('n', [2, 3])
def test_cutmix_moves_all_three_as_one(n, options):
    images, logits, valid = batch(n)
    mix = TeacherGuidedCutMix(**options)
    generator, foreign = rng(), 0
    for _ in range(5):
        out, out_logits, out_valid = mix(images, logits, valid, generator)
        origin, y, x = out.long().unbind(1)
        itself = coordinates(n).long()
        assert torch.equal(y, itself[:, 1]) and torch.equal(x, itself[:, 2])
        moved = origin != itself[:, 0]
        foreign += int(moved.sum())
        partner = (itself[:, 0] - 1) % n
        assert torch.equal(origin[moved], partner[moved])
        assert torch.equal(out_logits, torch.cat([out, -out], 1) + 1000)
        assert out_valid.dtype == torch.bool
        assert torch.equal(out_valid, valid[origin, y, x])
    assert foreign > 0


def test_cutmix_of_one_image_takes_its_mirror():
    images, logits, valid = batch(1)
    out, out_logits, out_valid = TeacherGuidedCutMix()(
        images, logits, valid, rng()
    )
    _, y, x = out.long().unbind(1)
    _, own_y, own_x = coordinates(1).long().unbind(1)
    mirrored = x != own_x
    assert mirrored.any() and not mirrored.all()
    assert torch.equal(y, own_y)
    assert torch.equal(x[mirrored], W - 1 - own_x[mirrored])
    assert torch.equal(out_logits, torch.cat([out, -out], 1) + 1000)
    assert torch.equal(out_valid, valid[0][y, x])


def test_cutmix_with_prob_zero_is_the_identity():
    inputs = batch(3)
    out = TeacherGuidedCutMix(prob=0.0)(*inputs, rng())
    assert all(map(torch.equal, out, inputs))


def shares(options, draws=500):
    """Share of foreign pixels of many mixed images."""
    inputs, generator = batch(4), rng()
    mix = TeacherGuidedCutMix(**options)
    own = coordinates(4)[:, 0]
    return torch.cat(
        [
            (mix(*inputs, generator)[0][:, 0] != own).float().mean(dim=(1, 2))
            for _ in range(draws // 4)
        ]
    ).numpy()


def kept_by_the_edges(extent, length):
    """Mean share of a centered extent that stays inside, by counting."""
    where = np.arange(length)[:, None] - extent // 2 + np.arange(extent)
    return ((where >= 0) & (where < length)).mean()


@pytest.mark.parametrize('beta', [1.0, 4.0])
def test_one_box_is_cut_around_any_center_as_cutmix_does(beta):
    areas = np.random.default_rng(1).beta(beta, beta, 4000)
    expected = np.mean(
        [
            np.prod(
                [
                    round(n * a**0.5)
                    * kept_by_the_edges(round(n * a**0.5), n)
                    / n
                    for n in (H, W)
                ]
            )
            for a in areas
            if round(H * a**0.5)
        ]
    )
    area = shares(dict(beta=beta), draws=2000)
    assert area.mean() == pytest.approx(expected, abs=0.02)
    assert area.max() > 0.6


def test_corners_are_cut_less_often_than_the_center():
    """A box of area a holds the center with probability a, a corner a / 4."""
    inputs, generator = batch(4), rng()
    mix, own = TeacherGuidedCutMix(), coordinates(4)[:, 0]
    moved = (
        torch.cat(
            [mix(*inputs, generator)[0][:, 0] != own for _ in range(300)]
        )
        .float()
        .mean(0)
    )
    assert moved[H // 2, W // 2] == pytest.approx(1 / 2, abs=0.06)
    for corner in (moved[0, 0], moved[0, -1], moved[-1, 0], moved[-1, -1]):
        assert corner == pytest.approx(1 / 8, abs=0.04)


def test_several_boxes_have_the_aspect_of_their_whole_area():
    """log2(height / width) of uniform log shares from the area up to 1."""
    generator, aspects = rng(), []
    for _ in range(400):
        mask = inner_boxes((400, 400), 0.375 / 3, 1, generator)
        whole = inner_boxes((400, 400), 0.375, 1, generator)
        aspects.append(
            [
                abs(np.log2(int(m.any(1).sum()) / int(m.any(0).sum())))
                for m in (mask, whole)
            ]
        )
    expected = -np.log2([0.375 / 3, 0.375]) / 2
    assert np.mean(aspects, 0) == pytest.approx(expected, rel=0.1)
    three = inner_boxes((400, 400), 0.375, 3, generator)
    assert three.float().mean() <= 0.376


def test_one_box_of_a_given_area():
    area = shares(dict(area=(0.25, 0.5)))
    assert area.min() > 0.22 and area.max() < 0.53
    assert area.mean() == pytest.approx(0.375, abs=0.01)


def test_three_boxes_share_the_area():
    area = shares(dict(num_boxes=3, area=(0.3, 0.3)))
    assert 0.27 < area.max() < 0.37
    assert 0.08 < area.min() < 0.2


def test_cutmix_prob_is_the_share_of_mixed_images():
    area = shares(dict(prob=0.3))
    assert (area > 0).mean() == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(area, shares(dict(prob=0.3)))


def test_cutmix_boxes_reach_every_pixel_and_keep_the_aspect_inside():
    inputs, generator = batch(4), rng()
    mix = TeacherGuidedCutMix()
    own, count = coordinates(4)[:, 0], torch.zeros(H, W)
    for _ in range(100):
        moved = mix(*inputs, generator)[0][:, 0] != own
        count += moved.sum(dim=0)
        for box in moved:
            h, w = box.any(1).sum(), box.any(0).sum()
            assert box.sum() == h * w
            edges = box[0].any() | box[-1].any() | box[:, 0].any()
            assert (
                edges | box[:, -1].any() or abs(h * W - w * H) <= (H + W) / 2
            )
    assert count.min() > 0


MIXES = [
    TeacherGuidedCutMix(),
    TeacherGuidedCutMix(3, area=(0.25, 0.5)),
    RandomZoom(prob=1.0),
]


@pytest.mark.parametrize('mix', MIXES)
@pytest.mark.parametrize('n', [1, 3])
def test_inputs_are_kept_and_the_seed_decides(mix, n):
    inputs = batch(n)
    clones = [x.clone() for x in inputs]
    first, again, other = (mix(*inputs, rng(s)) for s in (5, 5, 6))
    assert all(map(torch.equal, inputs, clones))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    for out in first:
        out.zero_()
    assert all(map(torch.equal, inputs, clones))


@pytest.mark.parametrize(
    'bad',
    [
        dict(num_boxes=0),
        dict(beta=0.0),
        dict(beta=-1.0),
        dict(area=(0.0, 0.5)),
        dict(area=(0.5, 0.25)),
        dict(area=(0.5, 1.5)),
        dict(prob=-0.1),
        dict(prob=1.1),
    ],
)
def test_cutmix_refuses_wrong_options(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        TeacherGuidedCutMix(**bad)


@pytest.mark.parametrize(
    'options', [dict(scale=(1.0, 1.0), prob=1.0), dict(prob=0.0)]
)
def test_zoom_by_one_is_the_identity(options):
    inputs = batch(3)
    images, logits, valid = RandomZoom(**options)(*inputs, rng())
    torch.testing.assert_close(images, inputs[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits, inputs[1], atol=2e-3, rtol=0)
    assert torch.equal(valid, inputs[2])


@pytest.mark.parametrize('factor', [0.5, 0.8, 1.6, 2.0])
def test_zoom_moves_all_three_as_one(factor):
    """Where nothing outside is mixed in, pixels tell where they came from."""
    where = coordinates(3)
    where[:, 0] = 1
    valid = where[:, 2] < 20
    images, logits, inside = RandomZoom((factor, factor), prob=1.0)(
        where, torch.cat([where, -where], dim=1), valid, rng(1)
    )
    assert inside.dtype == torch.bool
    torch.testing.assert_close(logits, torch.cat([images, -images], dim=1))
    seen = set()
    for (one, y, x), mask in zip(images, inside):
        whole = (one > 1 - 1e-5) & (0 < y) & (y < H - 1) & (0 < x)
        whole = (whole & (x < W - 1)).numpy()
        both = whole[1:, 1:] & whole[:-1, :-1]
        assert both.sum() > 50
        for step in (
            y.numpy()[1:, 1:] - y.numpy()[:-1, 1:],
            x.numpy()[1:, 1:] - x.numpy()[1:, :-1],
        ):
            assert step[both] == pytest.approx(1 / factor, abs=1e-3)
        # from 19 on there is a part of the invalid column 20
        clear = whole & (abs(x.numpy() - 19) > 1e-2)
        np.testing.assert_array_equal(
            mask.numpy()[clear], x.numpy()[clear] < 19
        )
        assert not mask[one < 0.2].any() and mask.any()
        seen.add((y[whole].min().item(), x[whole].min().item()))
    assert len(seen) == 3


@pytest.mark.parametrize('factor', [0.5, 0.75])
def test_zooming_out_is_valid_where_the_image_is(factor):
    ones = torch.ones(8, 3, H, W)
    out, _, inside = RandomZoom((factor, factor), prob=1.0)(
        ones, ones, ones[:, 0] > 0, rng()
    )
    for image, mask in zip(out[:, 0], inside):
        assert mask.sum() == pytest.approx(factor**2 * H * W, rel=0.1)
        height, width = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == height * width
        assert (image[mask] > 0.2).all()


@pytest.mark.parametrize('factor', [0.5, 1.5])
def test_zoom_of_padding_alone_has_nothing_valid(factor):
    images, logits, valid = batch(2)
    zoom = RandomZoom((factor, factor), prob=1.0)
    assert not zoom(images, logits, torch.zeros_like(valid), rng())[2].any()


@pytest.mark.parametrize('factor', [0.6, 1.3, 2.0])
def test_no_valid_pixel_is_blended_with_an_invalid_one(factor):
    """Invalid ones are far from all others, or not even numbers."""
    images, logits, valid = batch(3)
    valid[:, :, 14:], valid[1, 5:8] = False, False
    for wrong in (1e6, float('nan'), float('inf')):
        logits = torch.where(
            valid[:, None], torch.ones(3, 3, H, W), torch.tensor(wrong)
        )
        _, zoomed, inside = RandomZoom((factor, factor), prob=1.0)(
            images, logits, valid, rng(2)
        )
        kept = zoomed.permute(0, 2, 3, 1)[inside]
        assert len(kept) > 20
        tolerance = 2e3 if wrong == 1e6 else 1e-4  # of less than 1/1000
        assert (kept - 1).abs().max() < tolerance


def test_zoom_prob_is_the_share_of_zoomed_images():
    images = coordinates(400, 4, 4)
    valid = torch.ones(400, 4, 4, dtype=torch.bool)
    out, _, _ = RandomZoom((2.0, 2.0), 0.3)(images, images, valid, rng())
    changed = (out - images).abs().amax(dim=(1, 2, 3)) > 0.1
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize(
    'bad',
    [
        dict(scale=(0.0, 1.0)),
        dict(scale=(2.0, 1.0)),
        dict(prob=-0.1),
        dict(prob=1.1),
    ],
)
def test_zoom_refuses_wrong_options(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RandomZoom(**bad)
