"""What is made of the samples: medians, ratios, growth per item, and whether a target is met. Pure arithmetic."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Mapping, Optional, Sequence


@dataclass(frozen=True)
class Sample:
    """One run of one row.

    Attributes:
        wall: seconds from before its exec until it had ended.
        cpu: seconds of processor time, of user and system, over all its processes.
        rss: KiB of the largest of its processes, at its peak.
        ready: seconds from before its exec until its report of Ready had arrived; None when it makes none.
        requests: how many it made.
    """

    wall: float
    cpu: float
    rss: int
    ready: Optional[float] = None
    requests: int = 0


@dataclass(frozen=True)
class Counts:
    """What need not be timed, and is the same each time.

    Attributes:
        instructions: of user space, over all its processes; None where they were not counted.
        processes: that were started, itself among them.
        connections: to the fabric.
    """

    instructions: Optional[int] = None
    processes: Optional[int] = None
    connections: Optional[int] = None


@dataclass(frozen=True)
class Summary:
    """The medians of a row's samples; seconds and KiB as in Sample.

    Attributes:
        name: the row.
        runs: how many samples there are.
        least: the shortest wall.
        spread: half of the samples' walls lie within this many seconds around the median.
    """

    name: str
    runs: int
    ready: Optional[float]
    wall: float
    least: float
    spread: float
    cpu: float
    rss: float
    requests: float
    counts: Counts = Counts()

    @property
    def connections(self) -> Optional[int]:
        """To the fabric, in one run."""
        return self.counts.connections


@dataclass(frozen=True)
class Target:
    """A ratio of two rows that is wished for, or a figure of one.

    Attributes:
        text: what is compared, for a reader.
        row: the row that is judged.
        reference: the row that it is compared with; none when empty.
        figure: what of the row is taken: ready, wall, rss, requests or connections.
        against: what of the reference is taken.
        most: the ratio, or the figure, is not to be above this.
    """

    text: str
    row: str
    reference: str
    figure: str
    against: str
    most: float


@dataclass(frozen=True)
class Verdict:
    """A target, and the ratio or figure that was measured; None where a row is missing."""

    target: Target
    ratio: Optional[float]

    @property
    def word(self) -> str:
        """met, not met or not measured."""
        if self.ratio is None:
            return "not measured"
        return "met" if self.ratio <= self.target.most else "NOT MET"


def summary(name: str, samples: Sequence[Sample], counts: Counts = Counts()) -> Summary:
    """A row's medians. Raises ValueError without a sample."""
    if not samples:
        raise ValueError(f"{name}: no samples")
    walls = sorted(sample.wall for sample in samples)
    readies = [sample.ready for sample in samples if sample.ready is not None]
    return Summary(
        name=name,
        runs=len(samples),
        # A row that failed to report even once has no time of reporting.
        ready=statistics.median(readies) if len(readies) == len(samples) else None,
        wall=statistics.median(walls),
        least=walls[0],
        spread=spread(walls),
        cpu=statistics.median(sample.cpu for sample in samples),
        rss=statistics.median(sample.rss for sample in samples),
        requests=statistics.median(sample.requests for sample in samples),
        counts=counts,
    )


def spread(values: Sequence[float]) -> float:
    """The median distance from the median: what a few wild samples do not move."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def ratio(row: Optional[Summary], reference: Optional[Summary], figure: str, against: str) -> Optional[float]:
    """One figure over another; None where either is missing or the reference took nothing."""
    above = getattr(row, figure, None)
    below = getattr(reference, against, None)
    return above / below if above is not None and below else None


def verdicts(targets: Sequence[Target], rows: Mapping[str, Summary]) -> list[Verdict]:
    """Each target with what was measured."""
    found = []
    for one in targets:
        row = rows.get(one.row)
        alone = getattr(row, one.figure, None)
        compared = ratio(row, rows.get(one.reference), one.figure, one.against)
        found.append(Verdict(one, compared if one.reference else alone))
    return found


@dataclass(frozen=True)
class Growth:
    """How one row's wall grows with something.

    Attributes:
        name: what there is more of.
        sizes: how many, ascending.
        walls: the median wall of each, in seconds.
    """

    name: str
    sizes: Sequence[float]
    walls: Sequence[float]

    @property
    def per_item(self) -> float:
        """Seconds for each further item, from the fewest to the most."""
        return (self.walls[-1] - self.walls[0]) / (self.sizes[-1] - self.sizes[0])

    @property
    def at_the_end(self) -> float:
        """The same over the last stretch alone; well above `per_item`, the growth is worse than linear."""
        return (self.walls[-1] - self.walls[-2]) / (self.sizes[-1] - self.sizes[-2])
