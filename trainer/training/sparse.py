"""What a teacher said of one token when only its likeliest alternatives are known, and how that is aligned with the
student's tokens. Pure; no torch.

The cross-entropy of the student q under the teacher p is E_p[-log q(y)], and the token y that the teacher wrote was
drawn from p, so -log q(y) alone estimates it without bias. Of the K likeliest tokens T more is known: when y lies in T,
its loss is replaced by its expectation given that, the sum over T of p(t)/p(T)·(-log q(t)); a y outside T keeps its
own. This is conditioning (Rao-Blackwell): no bias, and the more is known, the less noise. To scale T up to one and
forget about y outside of it, as is often done, moves the optimum towards the head of p (Anshumann et al.,
"Sparse Logit Sampling", 2025, measure what that costs). All this holds for answers drawn at temperature 1 without
truncation; from others a student learns the teacher as it was sampled, outside T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from gateway.storage.values import TokenThought


class SparseTarget(Struct, frozen=True):
    """The student's tokens that are known of the teacher, with the teacher's probabilities; the rest is elsewhere."""

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]

    @property
    def tail(self) -> float:
        """The probability of everything that is not named."""
        return max(0.0, 1.0 - sum(self.probabilities))

    def weights(self, written: int) -> tuple[tuple[int, float], ...]:
        """The estimate above as weights on tokens; they sum to one."""
        if written not in self.tokens:
            return ((written, 1.0),)
        named = sum(self.probabilities)
        return tuple((token, one / named) for token, one in zip(self.tokens, self.probabilities, strict=True))


def aligned(
    answer: Sequence[int],
    teacher: Sequence[TokenThought],
    bytes_of: Callable[[int], bytes],
    token_of: Callable[[bytes], int | None],
    end: int,
) -> tuple[SparseTarget | None, ...]:
    """For each of the student's ``answer`` tokens (the last is ``end``), the teacher's target where both wrote the same
    bytes at the same place, None elsewhere: there the written token alone is learnt.

    ``bytes_of`` and ``token_of`` translate; an alternative that is not one token of the student counts to the tail.
    A teacher with the student's own tokenizer aligns everywhere.
    """
    starts, offset = {}, 0
    for one in teacher:
        starts[offset] = one
        offset += len(one.token)
    found: list[SparseTarget | None] = []
    offset = 0
    for token in answer:
        piece = b"" if token == end else bytes_of(token)
        there = starts.get(offset)
        if token == end or there is None or there.token != piece:
            found.append(None)
        else:
            known = [(token_of(name), math.exp(min(0.0, log))) for name, log in there.top]
            top = {number: probability for number, probability in known if number is not None}
            found.append(SparseTarget(tuple(top), tuple(top.values())) if top else None)
        offset += len(piece)
    return tuple(found)
