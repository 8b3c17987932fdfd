"""What an earlier run found out about files that are still the same."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import cv2
import mmcv
import mmseg
import PIL

from .images import in_threads

VERSION = 1  # of the findings; another one forgets them


class Memory:
    """Findings by files, in the user's cache folder.

    The folder is ``mmseg_psmt`` in ``$XDG_CACHE_HOME``, or in ``~/.cache``;
    to delete it forgets everything. A file that has another size or time of
    change is another file. Where nothing can be written, or files are not
    local, nothing is remembered.

    Args:
        *about (Any): All that findings depend on besides the files, by its
            ``repr``. An object without one of its own is never the same.
    """

    def __init__(self, *about: Any):
        text = repr(
            (about, VERSION, *(x.__version__ for x in (cv2, PIL, mmcv, mmseg)))
        )
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
        self.path = Path(root) / 'mmseg_psmt' / f'{name}.json'
        self.usable = ' object at 0x' not in text
        self.known: Dict[str, Any] = {}
        try:
            self.known = dict(
                json.loads(self.path.read_text(encoding='utf-8'))
            )
        except (OSError, TypeError, ValueError):  # not there, or spoilt
            pass

    def look(
        self,
        files: Sequence[Sequence[str]],
        find: Callable[[int], dict],
        worth: Callable[[dict], bool] = bool,
    ) -> List[dict]:
        """Findings of an earlier run, or new ones.

        Args:
            files (Sequence[Sequence[str]]): The paths that each depends on.
            find (Callable): The finding of one of them, by its number, of
                values that JSON has. Called in threads.
            worth (Callable): Whether a finding is to be remembered.

        Returns:
            list[dict]: Of each.
        """
        keys = in_threads(_key, files)
        new = [
            i
            for i, key in enumerate(keys)
            if not (self.usable and key in self.known)
        ]
        found = dict(zip(new, in_threads(find, new)))
        self.new = {
            keys[i]: finding
            for i, finding in found.items()
            if keys[i] and worth(finding)
        }
        return [
            found[i] if i in found else self.known[key]
            for i, key in enumerate(keys)
        ]

    def keep(self, *others: Dict[str, dict]) -> None:
        """Write what is new, here and on other ranks."""
        new = {
            key: value
            for part in (self.new, *others)
            for key, value in part.items()
        }
        if not (self.usable and new):
            return
        part = self.path.with_suffix(f'.{os.getpid()}.part')
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(
                json.dumps({**self.known, **new}), encoding='utf-8'
            )
            part.replace(self.path)
        except OSError:  # a full or read-only home
            with suppress(OSError):
                part.unlink()


def _key(paths: Sequence[str]) -> Optional[str]:
    try:
        stats = [(path, os.stat(path)) for path in paths]
    except OSError:
        return None
    return '|'.join(
        f'{os.path.abspath(path)} {stat.st_size} {stat.st_mtime_ns}'
        for path, stat in stats
    )
