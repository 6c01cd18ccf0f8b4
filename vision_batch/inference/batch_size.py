"""How many images a model is given at once: what the spec says, or what a trial on the first images finds."""

from __future__ import annotations

SMALLEST = 8
"""The smallest batch that is tried; smaller ones come only from a device without the memory for more."""
ROUNDS = 4
"""How often each size is tried. The best time counts: the first call of a size is slow, and machines are disturbed."""
ENOUGH = 0.75
"""A chunk with a few bad images is still worth a measurement of a batch as large as the chunk."""
WORTH = 1.03
"""How much faster a smaller batch must be to be taken: larger ones cost less outside of the model."""


class BatchSize:
    """Says how many images the next batch has, and learns from how long it took.

    A trial gives the model batches of 8, 16, 32, … images and of `most`, in turn, so that a disturbance of the machine
    hits all sizes alike, smallest first, so that memory is asked for in steps. Their predictions count like any others,
    so the trial costs only what the worse sizes are slower. A size for which every chunk has been too small is tried
    when a larger one comes. No chunk depends on it.
    """

    def __init__(self, most: int, *, trial: bool) -> None:
        """`most` is the size of a whole chunk, and the size without a `trial`."""
        is_tried = trial and most > SMALLEST
        sizes = [*(SMALLEST << step for step in range(most.bit_length()) if SMALLEST << step < most), most]
        self.found: int | None = None if is_tried else most
        self._most = most
        self._rounds_left = dict.fromkeys(sizes if is_tried else [], ROUNDS)
        self._best_rates: dict[int, float] = {}
        self._trying: int | None = None

    def next_rows(self, left: int) -> int:
        """How many of a chunk's `left` images come next."""
        fitting = [size for size, rounds in self._rounds_left.items() if rounds and ENOUGH * size <= left]
        if fitting:
            self._trying = max(fitting, key=lambda size: (self._rounds_left[size], -size))
            self._rounds_left[self._trying] -= 1
            return min(left, self._trying)
        self._trying = None
        if self._best_rates:
            self.found = self._fastest()
        batches = -(-left // self._limit())
        return -(-left // batches)  # alike: a batch of 65 and one of 64 are faster than one of 128 and one

    @property
    def trying(self) -> bool:
        """Whether `learn` wants to know how long the latest batch takes."""
        return self._trying is not None

    def learn(self, rows: int, seconds: float) -> None:
        """The latest batch, of `rows` images, took so long."""
        if self._trying is not None:
            self._best_rates[self._trying] = max(self._best_rates.get(self._trying, 0.0), rows / seconds)

    def out_of_memory(self, rows: int) -> None:
        """The device had no memory for `rows` images: from now on half as many are the most, or fewer.

        More than the most says nothing new: a compiled model tells the size that it padded such a batch to.
        """
        self._trying = None
        if rows > self._most:
            return
        self._most = min(self._most, max(1, rows // 2))
        self._rounds_left = {size: rounds for size, rounds in self._rounds_left.items() if size <= self._most}
        self._best_rates = {size: rate for size, rate in self._best_rates.items() if size <= self._most}
        if self.found is not None or not self._rounds_left:
            self.found = min(self.found or self._most, self._most)

    def _fastest(self) -> int:
        best = max(self._best_rates.values())
        return max(size for size, rate in self._best_rates.items() if rate * WORTH >= best)

    def _limit(self) -> int:
        """The most that a batch may have now. Where the largest size that was tried is the best so far, that is up to
        the next one, for which no chunk has been large enough."""
        if self.found is None:
            return self._most
        untried = [size for size in self._rounds_left if size > self.found and size not in self._best_rates]
        is_best_largest = self._best_rates and self.found == max(self._best_rates)
        return min(untried) - 1 if untried and is_best_largest else self.found
