"""The language of a text by its script and its commonest words: enough to keep foreign inputs out of a lesson."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),  # kana: before Han, which Japanese uses too
    ("ko", re.compile("[\uac00-\ud7af]")),
    ("zh", re.compile("[\u4e00-\u9fff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
)
_COMMON = {
    "en": "the and is are my of to in it you was for with have i not this that what how can a on do be",
    "de": "der die das und ist nicht ich mein meine ein eine wie zu mit für den dem auf wir sie kann was wo",
    "fr": "le la les et est je mon ma une des pas pour que qui dans avec ne vous sur comment du au ce suis",
    "es": "el los las y es mi una de que en no para con por cómo se del está yo puedo lo qué tengo",
    "it": "il gli e è mio mia una di che non per con come sono si del della ho posso ma lo questo nel",
    "pt": "o os as e é meu minha uma de que não para com como se do da eu posso está na no em tenho",
    "nl": "de het een en is niet ik mijn van te met voor op hoe kan dat wat zijn maar er aan je",
}
_SPEAKS: dict[str, tuple[str, ...]] = {}
for _code, _words in _COMMON.items():
    for _word in _words.split():
        _SPEAKS[_word] = (*_SPEAKS.get(_word, ()), _code)
KNOWN = (*_COMMON, *(code for code, _ in _SCRIPTS))


def language(text: str) -> str:
    """Its ISO 639-1 code; "" when it cannot be told (too short, mixed, or a language not in ``KNOWN``)."""
    letters = sum(map(str.isalpha, text))
    for code, script in _SCRIPTS:
        if letters and len(script.findall(text)) > 0.3 * letters:
            return code
    votes: dict[str, int] = {}
    for word in _WORD.findall(text.casefold()):
        for code in _SPEAKS.get(word, ()):
            votes[code] = votes.get(code, 0) + 1
    ranked = sorted(votes.values(), reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0] == ranked[1]):
        return ""
    return max(votes, key=lambda code: votes[code])
