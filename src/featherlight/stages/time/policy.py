"""How often and how long a cell is measured, and what counts as noise: what `time` does and its cost model expects."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TimingPolicy:
    """Each number with its unit.

    most_batches, texts: that a sample runs over, at most and about, where batches are of unequal length.
    visits, epochs: samples of inference and of training, if nobody says how many.
    least_seconds: of a visit. fewest: samples, whatever time they take. slow_seconds: of a call from which fewest_slow
    samples are enough. long_seconds: of a call that leaves nothing to warm up.
    most_spread: middle half over median; least_share: of the time that was spent computing. Beyond them is noise.
    warm_steps: of training before the clock runs. phased_steps: that are timed in parts.
    """

    most_batches: int = 8
    texts: int = 256
    visits: int = 20
    epochs: int = 3
    least_seconds: float = 0.02
    fewest: int = 5
    slow_seconds: float = 5.0
    fewest_slow: int = 3
    long_seconds: float = 1.0
    most_spread: float = 0.10
    least_share: float = 0.90
    warm_steps: int = 3
    phased_steps: int = 8

    def samples(self, repeats: int | None, *, training: bool) -> int:
        """How many are wanted. repeats: what was asked for."""
        return repeats or (self.epochs if training else self.visits)

    def fewest_samples(self, repeats: int | None, seconds: float, *, training: bool) -> int:
        """How many there are at least of a call that takes so long: all that a second measurement takes."""
        wanted = self.samples(repeats, training=training)
        return wanted if training else min(wanted, self.fewest_slow if seconds > self.slow_seconds else self.fewest)

    def batches(self, size: int) -> int:
        """How many batches of unequal length a sample of inference runs over."""
        return min(max(self.texts // size, 2), self.most_batches)


POLICY = TimingPolicy()
