"""Several teachers, one label: the answer that most of them agree on, and how sure that makes it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from optimizer.scorers import Comparison, agrees


class Vote(Struct, frozen=True):
    """``label``: the first answer of the largest group that agrees; ``share``: that group's part of all votes."""

    label: str
    share: float
    votes: int
    groups: tuple[tuple[str, int], ...] = ()
    """Each answer that somebody gave, the earliest first, and how many gave it."""

    @property
    def split(self) -> bool:
        """Whether no answer has more than half of the votes."""
        return 2 * self.share <= 1

    def chosen(self, label: str) -> Vote:
        """The same votes with another of their answers as the label. Raises ValueError when nobody gave it."""
        count = dict(self.groups).get(label)
        if count is None:
            raise ValueError("nobody gave this answer")
        return Vote(label, count / self.votes, self.votes, self.groups)


def vote(answers: Sequence[str], comparison: Comparison) -> Vote:
    """A plurality; of equal groups the one with the earliest answer, so the first teacher breaks ties. Groups are
    formed around their first answer. Raises ValueError for no answers."""
    if not answers:
        raise ValueError("nobody voted")
    groups: list[tuple[str, int]] = []
    for answer in answers:
        for at, (first, count) in enumerate(groups):
            if agrees(comparison, answer, first):
                groups[at] = first, count + 1
                break
        else:
            groups.append((answer, 1))
    label, count = max(groups, key=lambda group: group[1])
    return Vote(label, count / len(answers), len(answers), tuple(groups))
