"""The parts of one screen each: ensemble, ramp, sampler, transforms."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch._subclasses import FakeTensorMode

from mmseg_psmt.datasets import ColorJitter, PairSampler, RandomGaussianBlur
from mmseg_psmt.datasets.transforms.multi_view import MultiView
from mmseg_psmt.models import SemiSegDataPreProcessor, ensemble, ramp
from mmseg_psmt.models.pseudo_label import confidence_stats


def logits(seed, num_classes=6):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, num_classes, 3, 4, generator=rng)


def test_ensemble_is_the_mean():
    core, assist = logits(0), logits(1)
    expected = 0.5 * core.numpy() + 0.5 * assist.numpy()
    np.testing.assert_allclose(ensemble(core, assist), expected, rtol=1e-6)


@pytest.mark.parametrize('topk', [1, 2, 5])
def test_assisting_teacher_speaks_for_its_top_classes(topk):
    core, assist = logits(0), logits(1)
    clones = core.clone(), assist.clone()
    expected = core.numpy().copy()
    for i, y, x in np.ndindex(2, 3, 4):
        pixel = assist.numpy()[i, :, y, x]
        for k in np.argsort(-pixel)[:topk]:
            expected[i, k, y, x] = (core[i, k, y, x] + pixel[k]) / 2
    np.testing.assert_allclose(
        ensemble(core, assist, topk), expected, rtol=1e-6
    )
    assert torch.equal(core, clones[0]) and torch.equal(assist, clones[1])


@pytest.mark.parametrize('topk', [6, 7])
def test_ensemble_of_all_classes_is_the_mean(topk):
    core, assist = logits(0), logits(1)
    np.testing.assert_allclose(
        ensemble(core, assist, topk), (core + assist).numpy() / 2, rtol=1e-6
    )


@pytest.mark.parametrize('topk', [None, 2])
def test_one_teacher_is_its_own_ensemble(topk):
    core = logits(0)
    assert torch.equal(ensemble(core, None, topk), core)


@pytest.mark.parametrize('topk', [0, -1])
def test_ensemble_refuses_no_class(topk):
    for assist in (logits(1), None):
        with pytest.raises(ValueError, match='topk'):
            ensemble(logits(0), assist, topk)


@pytest.mark.parametrize('threshold', [0.4, 0.999])
def test_confidence_stats_count_pixels(threshold):
    targets = 3 * logits(0)
    rng = np.random.default_rng(0)
    valid = rng.random((2, 3, 4)) < 0.8
    truth = rng.integers(6, size=(2, 3, 4))
    truth[0, 0] = 255
    truth[1, 0] = 200  # no class of the network: unknown, too
    kept = known = right = 0
    counts = np.zeros((2, 6), int)
    for i, y, x in np.argwhere(valid):
        p = np.exp(targets[i, :, y, x].numpy().astype(np.float64))
        sure = p.max() / p.sum() >= threshold
        counts[0 if sure else 1, p.argmax()] += 1
        if sure:
            kept += 1
            known += truth[i, y, x] < 6
            right += p.argmax() == truth[i, y, x]
    stats = confidence_stats(
        targets, threshold, torch.tensor(valid), torch.tensor(truth)
    )
    assert stats['confident'].item() == pytest.approx(kept / valid.sum())
    assert stats['correct'].item() == pytest.approx(right / max(known, 1))
    assert (stats['counts'].numpy() == counts).all()
    assert 'correct' not in confidence_stats(
        targets, threshold, torch.tensor(valid)
    )


def test_confidence_stats_of_padding_are_zero():
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    stats = confidence_stats(logits(0), 0.5, nothing, nothing.long())
    assert not stats.pop('counts').any()
    assert stats == {'confident': 0, 'correct': 0}


def test_confidence_stats_do_not_wait_for_the_device():
    """A fake tensor has no values that the host could ask for."""
    with FakeTensorMode():
        valid = torch.ones(2, 3, 4, dtype=torch.bool)
        stats = confidence_stats(
            torch.rand(2, 6, 3, 4), 0.5, valid, valid.long()
        )
        assert stats['counts'].shape == (2, 6)
        with pytest.raises(Exception, match='bincount'):
            valid.long().flatten().bincount()


def test_ramp_is_a_cosine():
    assert ramp(0, 600) == 0
    assert ramp(150, 600) == pytest.approx(0.5 - 0.5 * math.sqrt(0.5))
    assert ramp(200, 600) == pytest.approx(0.25)
    assert ramp(300, 600) == pytest.approx(0.5)
    assert ramp(599, 600) == pytest.approx(1, abs=1e-5)
    assert ramp(600, 600) == ramp(10**6, 600) == 1
    assert ramp(0, 0) == 1


@pytest.mark.parametrize('args', [(-1, 2), (1, -2)])
def test_ramp_refuses(args):
    with pytest.raises(ValueError, match='at least 0'):
        ramp(*args)


class Pairs:
    labeled = range(5)
    unlabeled = range(12)


def draw(sampler, n):
    it = iter(sampler)
    return [next(it) for _ in range(n)]


def passes(indices, size):
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def test_every_pass_has_every_index_once():
    labeled, unlabeled, _ = zip(*draw(PairSampler(Pairs, seed=3), 60))
    for indices, size in ((labeled, 5), (unlabeled, 12)):
        rounds = passes(indices, size)
        assert all(sorted(r) == list(range(size)) for r in rounds)
        assert len(set(rounds)) == len(rounds)
    assert len(PairSampler(Pairs, seed=3)) == 12


def test_lists_have_independent_orders():
    class Alike:
        labeled = unlabeled = range(50)

    labeled, unlabeled, _ = zip(*draw(PairSampler(Alike, seed=3), 50))
    assert sum(a == b for a, b in zip(labeled, unlabeled)) < 10


def test_sampler_follows_its_seed():
    first, again, other = (
        draw(PairSampler(Pairs, seed=s), 24) for s in (3, 3, 4)
    )
    assert first == again != other
    assert len(draw(PairSampler(Pairs), 24)) == 24


def test_sampler_without_shuffle():
    expected = [(i % 5, i % 12, (3, i)) for i in range(30)]
    assert draw(PairSampler(Pairs, shuffle=False, seed=3), 30) == expected


@pytest.mark.parametrize('n', [0, 7, 31])
def test_skip_drops_the_first(n):
    sampler = PairSampler(Pairs, seed=3)
    sampler.skip(n)
    assert draw(sampler, 30) == draw(PairSampler(Pairs, seed=3), n + 30)[n:]


def test_two_ranks_share_the_order_of_one(monkeypatch):
    ranks = []
    for rank in (0, 1):
        for module in 'mmengine.dataset.sampler', PairSampler.__module__:
            monkeypatch.setattr(
                f'{module}.get_dist_info', lambda rank=rank: (rank, 2)
            )
        ranks.append(draw(PairSampler(Pairs, seed=3), 30))
    monkeypatch.undo()
    alone = draw(PairSampler(Pairs, seed=3), 60)
    assert [pair for both in zip(*ranks) for pair in both] == alone
    for first, second in zip(*(passes(rank, 6) for rank in ranks)):
        assert not {u for _, u, _ in first} & {u for _, u, _ in second}


MEAN, STD = [10.0, 20.0, 30.0], [2.0, 4.0, 8.0]
SETTINGS = dict(
    mean=MEAN, std=STD, bgr_to_rgb=True, size=(6, 7), seg_pad_val=255
)
SIZES = {
    'labeled': [(6, 7), (4, 5)],
    'weak': [(5, 7), (6, 3)],
    'strong': [(5, 7), (6, 3)],
}


def view(sizes):
    def sample(h, w):
        label = torch.randint(5, (1, h, w))
        return SegDataSample(gt_sem_seg=PixelData(data=label))

    return dict(
        inputs=[
            torch.randint(256, (3, h, w), dtype=torch.uint8) for h, w in sizes
        ],
        data_samples=[sample(h, w) for h, w in sizes],
    )


def test_every_view_is_normalized_and_padded():
    batch = {name: view(sizes) for name, sizes in SIZES.items()}
    images = {n: [x.numpy() for x in v['inputs']] for n, v in batch.items()}
    labels = [s.gt_sem_seg.data for s in batch['labeled']['data_samples']]
    out = SemiSegDataPreProcessor(**SETTINGS)(batch, training=True)
    assert set(out['inputs']) == {'labeled', 'weak', 'strong', 'valid'}
    assert set(out['data_samples']) == {'labeled', 'weak', 'strong'}
    for name, sizes in SIZES.items():
        expected = np.zeros((2, 3, 6, 7))
        for i, (h, w) in enumerate(sizes):
            rgb = images[name][i][::-1].astype(np.float64)
            for c in range(3):
                expected[i, c, :h, :w] = (rgb[c] - MEAN[c]) / STD[c]
        np.testing.assert_allclose(out['inputs'][name], expected, atol=1e-5)
    for i, (h, w) in enumerate(SIZES['labeled']):
        padded = out['data_samples']['labeled'][i].gt_sem_seg.data
        assert torch.equal(padded[:, :h, :w], labels[i])
        assert padded.shape == (1, 6, 7)
        assert (padded[:, h:] == 255).all() and (padded[..., w:] == 255).all()


def test_views_are_those_of_the_stock_preprocessor():
    batch = {name: view(sizes) for name, sizes in SIZES.items()}
    stock = SegDataPreProcessor(**SETTINGS)
    expected = {
        name: stock(
            dict(
                inputs=v['inputs'],
                data_samples=[s.clone() for s in v['data_samples']],
            ),
            training=True,
        )['inputs']
        for name, v in batch.items()
    }
    out = SemiSegDataPreProcessor(**SETTINGS)(batch, training=True)['inputs']
    assert all(torch.equal(out[n], x) for n, x in expected.items())


def test_valid_is_false_on_padding_alone():
    batch = {name: view(sizes) for name, sizes in SIZES.items()}
    valid = SemiSegDataPreProcessor(**SETTINGS)(batch, training=True)[
        'inputs'
    ]['valid']
    assert valid.dtype == torch.bool and valid.shape == (2, 6, 7)
    for i, y, x in np.ndindex(2, 6, 7):
        h, w = SIZES['weak'][i]
        assert valid[i, y, x] == (y < h and x < w)


def test_padding_counts_where_it_is_not_masked():
    batch = {name: view(sizes) for name, sizes in SIZES.items()}
    assert SemiSegDataPreProcessor(**SETTINGS, mask_padding=False)(
        batch, training=True
    )['inputs']['valid'].all()


def test_evaluation_is_that_of_the_stock_preprocessor():
    data = view([(5, 7), (5, 7)])
    out = SemiSegDataPreProcessor(**SETTINGS)(data, training=False)
    expected = SegDataPreProcessor(**SETTINGS)(data, training=False)
    assert torch.equal(out['inputs'], expected['inputs'])
    assert out['inputs'].shape == (2, 3, 5, 7)
    for sample, given in zip(out['data_samples'], data['data_samples']):
        assert torch.equal(sample.gt_sem_seg.data, given.gt_sem_seg.data)


def picture(seed=0, size=(16, 20)):
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(*size, 3), dtype=np.uint8)


def mark(value):
    """A transform that does not move pixels."""
    return dict(type='mmseg.ColorJitter', brightness=value, prob=1.0)


def test_views_share_the_geometry_but_no_memory():
    img, label = picture(), np.arange(320).reshape(16, 20) % 7
    results = dict(img=img.copy(), gt_seg_map=label.copy(), flip=True)
    out = MultiView(weak=[], strong=[mark(0.5)])(results)
    assert list(out) == ['weak', 'strong']
    np.testing.assert_array_equal(out['weak']['img'], img)
    assert (out['strong']['img'] != img).any()
    for name in out:
        assert out[name]['img'].shape == img.shape
        np.testing.assert_array_equal(out[name]['gt_seg_map'], label)
        assert out[name]['flip'] is True
        out[name]['img'][:] = 0
        out[name]['gt_seg_map'][:] = 0
    np.testing.assert_array_equal(results['img'], img)
    np.testing.assert_array_equal(results['gt_seg_map'], label)


def test_a_flipped_image_is_copied_once_for_all_views():

    class Flipped:
        copies = 0

        def __deepcopy__(self, memo):
            self.copies += 1
            return picture()

    flipped = Flipped()
    MultiView(weak=[], strong=[mark(0.5)])(dict(img=flipped))
    assert flipped.copies == 1


def test_no_view_is_refused():
    with pytest.raises(ValueError, match='at least one view'):
        MultiView()


@pytest.mark.parametrize(
    'transform',
    [
        ColorJitter(prob=0.0),
        ColorJitter(0.0, 0.0, 0.0, 0.0, prob=1.0),
        RandomGaussianBlur(prob=0.0),
    ],
)
def test_transforms_can_be_switched_off(transform):
    for seed in range(5):
        np.random.seed(seed)
        out = transform(dict(img=picture()))['img']
        np.testing.assert_array_equal(out, picture())


@pytest.mark.parametrize(
    'transform', [ColorJitter(prob=1.0), RandomGaussianBlur(prob=1.0)]
)
def test_transforms_follow_the_seed(transform):
    def run(seed):
        np.random.seed(seed)
        return transform(dict(img=picture()))['img']

    assert run(0).dtype == np.uint8 and run(0).shape == picture().shape
    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != picture()).any()
    assert (run(0) != run(1)).any()


@pytest.mark.parametrize('kind', [ColorJitter, RandomGaussianBlur])
def test_prob_is_the_share_of_changed_images(kind):
    np.random.seed(0)
    changed = [
        (
            kind(prob=0.3)(dict(img=picture(size=(8, 8))))['img']
            != picture(size=(8, 8))
        ).any()
        for _ in range(300)
    ]
    assert 0.15 < np.mean(changed) < 0.4


def test_brightness_is_a_factor_within_its_range():
    gray, factors = np.full((4, 4, 3), 100, np.uint8), []
    jitter = ColorJitter(0.5, 0.0, 0.0, 0.0, prob=1.0)
    np.random.seed(0)
    for _ in range(200):
        img = jitter(dict(img=gray.copy()))['img']
        assert (img == img[0, 0, 0]).all()
        factors.append(img[0, 0, 0] / 100)
    assert 0.48 < min(factors) < 0.6 and 1.4 < max(factors) < 1.52


def test_saturation_and_hue_leave_gray_alone():
    gray = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    gray[:] = gray[..., :1]
    jitter = ColorJitter(0.0, 0.0, 0.5, 0.25, prob=1.0)
    np.random.seed(0)
    for _ in range(10):
        np.testing.assert_allclose(
            jitter(dict(img=gray.copy()))['img'].astype(int), gray, atol=1
        )


def test_contrast_moves_pixels_to_and_from_the_mean():
    img = np.full((4, 4, 3), 80, np.uint8)
    img[:2] = 120
    jitter = ColorJitter(0.0, 0.5, 0.0, 0.0, prob=1.0)
    np.random.seed(0)
    for _ in range(20):
        out = jitter(dict(img=img.copy()))['img'].astype(int)
        assert out[0, 0, 0] + out[3, 0, 0] == pytest.approx(200, abs=2)
        assert 18 <= out[0, 0, 0] - out[3, 0, 0] <= 62


@pytest.mark.parametrize(
    'bad',
    [
        dict(brightness=-0.1),
        dict(contrast=-0.1),
        dict(saturation=-0.1),
        dict(hue=0.6),
        dict(hue=-0.1),
        dict(prob=1.1),
    ],
)
def test_jitter_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ColorJitter(**bad)


def test_blur_keeps_a_constant_image():
    np.random.seed(0)
    flat = np.full((16, 20, 3), 93, np.uint8)
    out = RandomGaussianBlur(prob=1.0)(dict(img=flat.copy()))['img']
    np.testing.assert_array_equal(out, flat)


def test_blur_is_a_gaussian_of_its_sigma():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    blur = RandomGaussianBlur((1.5, 1.5), prob=1.0)
    out = blur(dict(img=point))['img'][..., 0]
    x = np.arange(-20, 21)
    bell = np.exp(-(x**2) / (2 * 1.5**2))
    np.testing.assert_allclose(
        out, np.outer(bell, bell) / bell.sum() ** 2, atol=2e-4
    )


@pytest.mark.parametrize(
    'bad',
    [
        dict(sigma=(0.0, 1.0)),
        dict(sigma=(2.0, 1.0)),
        dict(prob=-0.1),
        dict(prob=1.1),
    ],
)
def test_blur_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RandomGaussianBlur(**bad)
