"""What the validation says of each net."""

import json
import logging
import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import METRICS, MODELS
from mmseg.structures import SegDataSample

import mmseg_psmt  # noqa: F401

TRUTH = torch.tensor([[[0, 1, 1, 0]]])
RIGHT, HALF = TRUTH.clone(), torch.tensor([[[0, 0, 1, 1]]])


def sample(**labels):
    """A prediction as PSMT makes it; the first name predicts."""
    out = SegDataSample(metainfo=dict(img_path='a.png'))
    out.gt_sem_seg = PixelData(data=TRUTH)
    for i, (name, data) in enumerate(labels.items()):
        out.set_data({f'{name}_sem_seg': PixelData(data=data)})
        if i == 0:
            out.pred_sem_seg = PixelData(data=data)
            out.seg_logits = PixelData(
                data=torch.nn.functional.one_hot(data[0], 2)
                .permute(2, 0, 1)
                .float()
            )
    return out


@pytest.fixture()
def words():
    logger, said = MMLogger.get_current_instance(), []
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: 'prefix' not in record.getMessage())
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    yield said
    logger.removeHandler(handler)


def evaluator():
    metric = METRICS.build(dict(type='TeacherStudentIoUMetric'))
    out = Evaluator([metric])
    out.dataset_meta = dict(classes=('a', 'b'))
    return out


def evaluate(samples, metrics=None):
    metrics = metrics or evaluator()
    metrics.process(samples)
    return {
        name: float(value)
        for name, value in metrics.evaluate(len(samples)).items()
        if 'aAcc' in name
    }


def merged(*samples):
    """By the model of mmseg that a test with --tta wraps ours in."""
    tta = SegTTAModel(Predicts())
    return tta.merge_preds([samples])


class Predicts(torch.nn.Module):
    out_channels = 2

    def test_step(self, data):
        """Never called here."""


def test_each_net_is_scored(words):
    scores = evaluate(
        [
            sample(teachers=RIGHT, student=HALF),
            sample(teachers=HALF, student=HALF),
        ]
    )
    assert scores == {'aAcc': 75, 'student/aAcc': 50} and not words


def test_what_is_not_merged_is_not_scored(words):
    """Of two augmentations the last has a student that is right."""
    pictures = merged(
        sample(teachers=RIGHT, student=HALF),
        sample(teachers=HALF, student=RIGHT),
        sample(teachers=RIGHT, student=RIGHT),
    )
    assert evaluate(pictures) == {'aAcc': 100}
    assert len(words) == 1 and 'model.predict_with=student' in words[0]


def test_every_net_is_merged(words):
    """By what the name SegTTAModel builds, as the nets alone are merged."""
    module = Predicts()
    module.predict_with = ['teachers', 'student']
    tta = MODELS.build(dict(type='SegTTAModel', module=module))
    assert isinstance(tta, SegTTAModel) and module.keep_logits
    views = []
    for teachers, student in ((RIGHT, HALF), (HALF, HALF), (RIGHT, RIGHT)):
        view = sample(teachers=teachers, student=student)
        for name, labels in (('teachers', teachers), ('student', student)):
            view.set_data(
                {
                    f'{name}_seg_logits': PixelData(
                        data=torch.nn.functional.one_hot(labels[0], 2)
                        .permute(2, 0, 1)
                        .float()
                    )
                }
            )
        views.append(view)
    pictures = tta.merge_preds([views])
    assert evaluate(pictures) == {'aAcc': 100, 'student/aAcc': 50}
    assert not words and 'student_seg_logits' not in pictures[0]


def test_the_student_alone_is_merged(words):
    """The remedy."""
    pictures = merged(
        sample(student=HALF), sample(student=RIGHT), sample(student=HALF)
    )
    assert evaluate(pictures) == {'aAcc': 50}


def test_any_other_merger_and_a_validation_after_it(words):
    metrics = evaluator()
    changed = sample(teachers=HALF, student=HALF)
    changed.pred_sem_seg = PixelData(data=RIGHT)
    assert evaluate([changed], metrics) == {'aAcc': 100}
    assert evaluate([sample(teachers=HALF, student=RIGHT)], metrics) == {
        'aAcc': 50,
        'student/aAcc': 100,
    }
    assert len(words) == 1


def test_a_plain_model_is_scored(words):
    plain = sample(student=HALF)
    del plain.student_sem_seg
    assert evaluate([plain]) == {'aAcc': 50} and not words


def of_rank(rank, folder):
    dist.init_process_group(
        'gloo', f'file://{folder}/store', rank=rank, world_size=2
    )
    os.chdir(folder)
    metrics = evaluator()
    for _ in range(2):  # an evaluation leaves nothing behind
        if rank == 0:
            metrics.process([sample(teachers=RIGHT, student=HALF)])
        scores = metrics.evaluate(1)
    (folder / f'{rank}.json').write_text(
        json.dumps({name: float(value) for name, value in scores.items()})
    )
    dist.destroy_process_group()


def test_a_rank_without_an_image_does_not_hang(tmp_path):
    fork = multiprocessing.get_context('fork')
    ranks = [
        fork.Process(target=of_rank, args=(rank, tmp_path)) for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    alive = [rank for rank in ranks if rank.is_alive()]
    for rank in alive:
        rank.kill()
    assert not alive and [rank.exitcode for rank in ranks] == [0, 0]
    for rank in (0, 1):
        scores = json.loads((tmp_path / f'{rank}.json').read_text())
        assert (scores['aAcc'], scores['student/aAcc']) == (100, 50)
