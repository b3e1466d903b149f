"""What a text looks like, apart from its words: numbers for a classifier of attacks. Pure, linear in the text.

Machine-made suffixes glue marks and letters together at the end (Zou et al., Universal and Transferable Adversarial
Attacks, 2023); jailbreaks cast a role, tell a story and state a harmless purpose before they ask (Chao et al., PAIR,
2023); questions that people ask begin as questions and end with a question mark.
"""

from __future__ import annotations

import math
import re

_TAIL = 200
_GLUED = re.compile(
    r"[^\w\s]{2,}|\w[^\w\s'’-]\w|[a-z][A-Z]|[A-Za-z][{}\[\]()<>$\\_]|[{}\[\]()<>$\\_][A-Za-z]",
)
_WORD = re.compile(r"[^\W\d_]+")
_YOU = re.compile(r"\byou(?:r|'re| are)?\b")
_SENTENCE = re.compile(r"[.!?]\s")
_ASKS = re.compile(r"\s*(?:what|how|why|when|where|who|which|can|could|is|are|do|does)\b")
_CASTS = re.compile(
    r"\s*(?:you are|you're|imagine|as an? |i want you|act|pretend|hello|hi|ignore|from now)",
)
_ORDERS = re.compile(r"\b(?:write|provide|describe|create|explain|outline|draft|give)\b")
_TELLS = re.compile(
    r"\b(?:fiction|fictional|novel|story|movie|script|character|hypothetical|scenario|educational|academic|research|purposes)\b"
)

NAMES = (
    "glued-tail", "marks-in-tail", "words", "characters", "lines", "capitals", "ends-as-question", "asks", "you",
    "casts", "orders", "tells", "sentences",
)  # fmt: skip


def shape(text: str) -> list[float]:
    """One number from 0 to about 2 for each of :data:`NAMES`."""
    tail, lower, size = text[-_TAIL:], text.lower(), max(len(text), 1)
    words = max(len(_WORD.findall(text)), 1)
    marks = sum(not letter.isalnum() and not letter.isspace() for letter in tail)
    return [
        min(len(_GLUED.findall(tail)) / max(len(tail), 1) * 20, 4.0),
        marks / max(len(tail), 1) * 5,
        min(words / 200, 1.0),
        min(math.log1p(len(text)) / 8, 1.5),
        text.count("\n") / size * 20,
        sum(letter.isupper() for letter in text) / size * 5,
        float(lower.rstrip().endswith("?")),
        float(_ASKS.match(lower) is not None),
        min(len(_YOU.findall(lower)) / words * 10, 2.0),
        float(_CASTS.match(lower) is not None),
        float(_ORDERS.search(lower) is not None),
        float(_TELLS.search(lower) is not None),
        min(len(_SENTENCE.findall(text)) / 10, 1.0),
    ]
