"""How many images a model is given at once: what the spec says, or what a trial on the first images finds."""

from __future__ import annotations

from collections import deque

SMALLEST = 8
"""The smallest batch that is tried; smaller ones come only from a device without the memory for more."""
ROUNDS = 3
"""How often each size is tried. The best time counts: the first call of a size is slow, and machines are disturbed."""
ENOUGH = 0.75
"""A chunk with a few bad images is still worth a measurement of a batch as large as the chunk."""
WORTH = 1.03
"""How much faster a smaller batch must be to be taken: larger ones cost less outside of the model."""


class BatchSize:
    """Says how many images the next batch has, and learns from how long it took.

    A trial gives the model batches of 8, 16, 32, … images and of `most`, in turn, so that a disturbance of the machine
    hits all sizes alike, smallest first, so that memory is asked for in steps. Their predictions count like any others,
    so the trial costs only what the worse sizes are slower. No chunk depends on it.
    """

    def __init__(self, most: int, *, trial: bool) -> None:
        """`most` is the size of a whole chunk, and the size without a `trial`."""
        self.found: int | None = None if trial and most > SMALLEST else most
        self._most = most
        sizes = [SMALLEST << step for step in range(most.bit_length()) if SMALLEST << step < most] + [most]
        self._turns = deque(sizes * ROUNDS)
        self._best_rates: dict[int, float] = {}
        self._trying: int | None = None

    def next_rows(self, left: int, *, whole: bool) -> int:
        """How many of `left` images come next; `whole` says that they are a whole chunk, of which none has come yet."""
        self._trying = None
        if self.found is not None:
            batches = -(-left // self.found)
            return -(-left // batches)  # alike: a batch of 65 and one of 64 are faster than one of 128 and one
        wanted = self._turns[0]
        is_enough = left >= ENOUGH * wanted
        if is_enough or whole:
            self._turns.popleft()  # where chunks are small, large sizes have their turns too, or there were no end
        if is_enough:
            self._trying = wanted
        elif not self._turns:
            self._settle()
        return min(left, wanted)

    @property
    def trying(self) -> bool:
        """Whether `learn` wants to know how long the latest batch takes."""
        return self._trying is not None

    def learn(self, rows: int, seconds: float) -> None:
        """The latest batch, of `rows` images, took so long."""
        if self._trying is None:
            return
        self._best_rates[self._trying] = max(self._best_rates.get(self._trying, 0.0), rows / seconds)
        if not self._turns:
            self._settle()

    def out_of_memory(self, rows: int) -> None:
        """The device had no memory for `rows` images: from now on half as many are the most, or fewer."""
        self._trying = None
        self._most = min(self._most, max(1, rows // 2))
        self._turns = deque(size for size in self._turns if size <= self._most)
        self._best_rates = {size: rate for size, rate in self._best_rates.items() if size <= self._most}
        if self.found is not None:
            self.found = min(self.found, self._most)
        elif not self._turns:
            self._settle()

    def _settle(self) -> None:
        best = max(self._best_rates.values(), default=0.0)
        fast = [size for size, rate in self._best_rates.items() if rate * WORTH >= best]
        self.found = max(fast, default=self._most)
