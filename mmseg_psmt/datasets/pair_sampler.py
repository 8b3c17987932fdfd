"""Endless pairs of a labelled and an unlabelled index."""
from typing import Iterator, Optional, Tuple

from mmengine.dataset import InfiniteSampler
from mmengine.dist import sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .semi_dataset import SemiSegDataset


@DATA_SAMPLERS.register_module()
class PairSampler(Sampler):
    """Walks both lists of a :class:`SemiSegDataset` in independent orders.

    Each list is an endless row of permutations of which every rank takes its
    share, so ranks see disjoint images within a pass.

    Args:
        dataset (SemiSegDataset): The pairs.
        shuffle (bool): Whether to permute. Defaults to True.
        seed (int, optional): The same on every rank. Defaults to a random
            one that the ranks agree on.
    """

    def __init__(self,
                 dataset: SemiSegDataset,
                 shuffle: bool = True,
                 seed: Optional[int] = None):
        if seed is None:
            seed = sync_random_seed()
        self.labeled = InfiniteSampler(dataset.labeled, shuffle, seed)
        self.unlabeled = InfiniteSampler(dataset.unlabeled, shuffle, seed + 1)

    def __iter__(self) -> Iterator[Tuple[int, int]]:
        yield from zip(self.labeled, self.unlabeled)

    def skip(self, num_samples: int) -> None:
        """Go to an absolute position without loading what lies before."""
        self.labeled.skip(num_samples)
        self.unlabeled.skip(num_samples)

    def __len__(self) -> int:
        return len(self.unlabeled)
