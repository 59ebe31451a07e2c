"""Records a few at a time, while the others wait on the disk instead of in memory."""

from __future__ import annotations

import os
import pickle
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Generic, TypeVar, overload

import numpy as np

from trimtab.data.seen import Numbering

T = TypeVar("T")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`; the last may be shorter."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


class OnDemand(Sequence[T]):
    """A sequence whose items are made when they are asked for."""

    @abstractmethod
    def _item(self, number: int) -> T:
        """The item of a number from 0 to the length."""

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._item(number) for number in range(*index.indices(len(self)))]
        return self._item(range(len(self))[index])  # which raises IndexError where a list does


class Spool(OnDemand[T]):
    """Records in a temporary file without a name, so that it goes with the process; 8 bytes of memory a record.

    The file is in `folder`, or where the system keeps such files.
    """

    def __init__(self, records: Iterable[T] = (), folder: Path | None = None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as the spool is there)
        self._ends = array("Q", [0])
        for record in records:
            self.append(record)

    def append(self, record: T) -> None:
        """Put a record behind the others."""
        written = self._file.write(pickle.dumps(record, pickle.HIGHEST_PROTOCOL))
        self._ends.append(self._ends[-1] + written)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _item(self, number: int) -> T:
        self._file.flush()
        start, end = self._ends[number : number + 2]
        return pickle.loads(os.pread(self._file.fileno(), end - start, start))


class Groups(Generic[T]):
    """Records of equal key together, in order: groups by their first record, records of a group among themselves.

    They go through a `Spool`, so memory holds some 40 bytes a record. `len` is the number of groups.
    """

    def __init__(self, records: Iterable[T], key: Callable[[T], Hashable], folder: Path | None = None) -> None:
        numbering, self._group_of, self._records = Numbering(), array("I"), Spool[T](folder=folder)
        for record in records:
            self._group_of.append(numbering.number(hash(key(record))))
            self._records.append(record)
        self._key, self._len = key, len(numbering)

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[list[T]]:
        in_groups = np.argsort(np.array(self._group_of), kind="stable")
        for _, numbers in groupby(map(int, in_groups), key=self._group_of.__getitem__):
            same: dict[Hashable, list[T]] = {}  # by the key itself: different ones may share a hash
            for number in numbers:
                record = self._records[number]
                same.setdefault(self._key(record), []).append(record)
            yield from same.values()
