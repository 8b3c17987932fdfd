"""Endless pairs of a labeled and an unlabeled index."""

from itertools import count, islice
from typing import Iterator, Optional, Tuple

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .semi_dataset import SemiSegDataset


@DATA_SAMPLERS.register_module()
class PairSampler(Sampler):
    """Walks both lists of a :class:`SemiSegDataset` in independent orders.

    Each list is an endless row of permutations of which every rank takes its
    share, so ranks see disjoint images within a pass. All follows from the
    seed and the position.

    Args:
        dataset (SemiSegDataset): The pairs.
        shuffle (bool): Whether to permute. Defaults to True.
        seed (int, optional): The same on every rank. Defaults to a random
            one that the ranks agree on.
    """

    def __init__(
        self,
        dataset: SemiSegDataset,
        shuffle: bool = True,
        seed: Optional[int] = None,
    ):
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.position = 0

    def __iter__(self) -> Iterator[Tuple[int, int, Tuple[int, int]]]:
        """Labeled and unlabeled index, and the seed of their transforms."""
        rank, ranks = get_dist_info()
        pairs = zip(
            InfiniteSampler(self.dataset.labeled, self.shuffle, self.seed),
            InfiniteSampler(
                self.dataset.unlabeled, self.shuffle, self.seed + 1
            ),
            count(rank, ranks),
        )
        for labeled, unlabeled, number in islice(pairs, self.position, None):
            yield labeled, unlabeled, (self.seed, number)

    def skip(self, num_samples: int) -> None:
        """Begin at a position of this rank, without loading what is before."""
        self.position = num_samples

    def __len__(self) -> int:
        return len(self.dataset.unlabeled)
