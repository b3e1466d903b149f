"""Words and turns of phrase of toxic language, with weights that add up: 1 is toxic by itself. Written by hand, English.

Contains offensive words: it has to know them.
"""

# ruff: noqa: E501 (a list is read best in one piece)
from __future__ import annotations

from collections.abc import Iterator

from gateway.guardrails.compiled import compiled

_SLURS = (
    r"n[i1]gg(?:er|a|uh|az|as|ers)s?|f[a@]gg?(?:ot|ots|s|y)?|k[i1]kes?|sp[i1]cs?|ch[i1]nks?|gooks?|wetbacks?|rag ?heads?|towel ?heads?"
    r"|trann(?:y|ies)|dykes?|retards?|retarded|cunts?|whores?|sluts?|hoes?|coons?|darkies|pakis?|shemales?|white trash|camel ?jockeys?|crackers?|twats?|wankers?|skanks?"
)
_CURSES = (
    r"f+u+c+k+\w{0,6}|motherf\w{0,10}|bullsh\w{0,4}|sh[i1]ts?|shitty|b[i1]tch\w{0,4}|biatch|assholes?|arseholes?|dumb ?ass(?:es)?|jackass\w{0,2}|bastards?"
    r"|dicks?|dickheads?|cocks?|cocksuckers?|puss(?:y|ies)|prick|piss(?:ed)? off|fag|goddamn|crap|stfu|gtfo|wtf"
)
_INSULTS = (
    r"idiot\w{0,3}|morons?|moronic|stupid\w{0,4}|imbeciles?|dumb|losers?|pathetic|scum\w{0,4}|trash|garbage|filth\w{0,2}|vermin|parasites?|subhumans?|savages?|animals|pigs?|rats|cockroach\w{0,2}"
    r"|disgusting|disgust\w{0,2}|despicable|worthless|useless|liars?|lying|clowns?|cowards?|creeps?|freaks?|fatty|ugly|pervert\w{0,2}|perverted|scumbags?|ignorant|brainless|plague|disease|abominations?|inferior|monsters?|evil|thugs?|psycho\w{0,4}|nazis?|delusional|hypocrites?|shut up|disgrace|mentally ill|criminals?"
)
_GROUPS = (
    r"women|females?|girls|gays?|gay people|lesbians?|homosexuals?|trans(?:gender)?(?: people| women| men)?|blacks?|black people|whites?|white people|jews?|jewish people|muslims?|islam|arabs?|middle easterners?"
    r"|mexicans?|latin[oa]s?|hispanics?|asians?|chinese|indians?|immigrants?|migrants?|refugees?|foreigners|disabled(?: people)?|the disabled|native americans?|africans?|christians?|cripples?|feminists?|liberals|conservatives|democrats|republicans|whitey"
)
_HARM = r"kill(?:ed)?|murder(?:ed)?|shoot|shot|die|dead|burn(?:ed)?|rape[ds]?|hang(?:ed)?|lynch(?:ed)?|gas(?:sed)?|execut\w{2,3}|beat(?:en)?|hurt|exterminat\w{2,3}|eliminat\w{2,3}|wiped? out|punch(?:ed)?|stab(?:bed)?|tortur\w{1,2}|destroy(?:ed)?|attack(?:ed)?|deport(?:ed)?|locked up|sterili[sz]ed|d3ath|death"
_GAP = r"[^.!?\n]{0,48}?"


RULES: tuple[tuple[str, float, str], ...] = (
    ("slur", 1.0, rf"\b(?:{_SLURS})\b"),
    ("curse", 0.6, rf"\b(?:{_CURSES})\b"),
    ("curse-at-somebody", 0.5, rf"\b(?:you|your|ur|u|these|those|them|him|her|this|he|she|they)\b[^.!?\n]{{0,20}}\b(?:{_CURSES}|{_INSULTS})\b|\b(?:{_CURSES})\b[^.!?\n]{{0,12}}\b(?:you|them|off|him|her|u)\b"),
    ("insult", 0.35, rf"\b(?:{_INSULTS})\b"),
    ("insult-at-somebody", 0.5, rf"\b(?:you|you're|your|ur|he|she|they|he's|she's|they're)(?: are| r| is)?(?: (?:all|just|such|so|an?|the|really|fucking|damn|real|nothing but|\w+)){{0,3}} (?:{_INSULTS})\b"),
    ("group-below", 1.0, rf"\b(?:{_GROUPS})\b{_GAP}\b(?:are|is|were|deserve|should|must|need to|ought to|will never|don't|do not|can't|cannot|have no|belong)\b{_GAP}\b(?:{_INSULTS}|{_HARM}|hate[ds]?|gross|repulsive|sickening|dangerous|terrorists?|lazy|dirty|stink|weak|less than|rights?|belong|sin|unnatural|wrong|immoral|property|kitchen|violent|rapists?|thie(?:f|ves)|worse|ruin\w{0,3}|steal\w{0,3}|go back|stay out|leave)\b"),
    ("hates-group", 1.1, rf"\b(?:hate|hates|despise|loathe|detest|can't stand|cannot stand|sick of|fed up with|disgusted by|fuck|death to|kill all|gas the|burn all|d3ath to|down with|get rid of|no place for|ban all)\b{_GAP}\b(?:{_GROUPS})\b"),
    ("group-cursed", 0.6, rf"\b(?:{_GROUPS})\b{_GAP}\b(?:{_CURSES})\b|\b(?:{_CURSES})\b{_GAP}\b(?:{_GROUPS})\b"),
    ("group-scorned", 1.0, rf"\b(?:not worthy|unworthy|lesser beings?|no (?:compassion|respect|sympathy)|rather have cancer|repugnant|filthy|vile|dirt|makes? me (?:sick|puke)|not apply|second[- ]class|not (?:human|people|real)|no better than)\b{_GAP}\b(?:{_GROUPS}|(?:gay|trans|disabled|black) person|woman|man|muslim|immigrant|jew)\b|\b(?:{_GROUPS})\b{_GAP}\b(?:not worthy|unworthy|lesser beings?|repugnant|vile|makes? me (?:sick|puke)|second[- ]class|not (?:human|people|real)|no better than)\b"),
    ("threat", 1.0, rf"\b(?:i|we|i'll|we'll|i'm|somebody|someone)\b[^.!?\n]{{0,24}}\b(?:will|going to|gonna|should|would|wanna|want to|ought to|'ll|need to|'d)\b{_GAP}\b(?:{_HARM})\b|\b(?:should|ought to|deserves?(?: to)?|must|need to|hope (?:you|they|he|she)) (?:\w+ ){{0,2}}(?:{_HARM})\b|\bkill (?:your|him|her|them)sel(?:f|ves)\b|\bkys\b"),
    ("sexual", 0.45, r"\b(?:porn\w{0,6}|blow ?jobs?|penis|vagina|cum|orgasm|masturbat\w{1,4}|nude|naked|boobs|tits|anal|horny|rape[ds]?|sex(?:ual|y)?|erect\w{0,4}|suck my|puppies')\b"),
    ("self-harm", 0.5, r"\b(?:suicid\w{1,4}|self[- ]harm|cut(?:ting)? myself|kill(?:ing)? myself|end (?:my|it) (?:life|all)|want to die)\b"),
)  # fmt: skip
_SOFTER = (
    rf"\b(?:(?:do|does|did|should|must|would|could|is|are|was|were)(?: not|n't)|never|no one|nobody)\b (?:should |ever |to )?"
    rf"(?:deserves?|be|being|hates?|hated|{_HARM}|{_INSULTS})\b|\b(?:wrong|unacceptable|stop|bad) (?:to|that)\b"
)


def weights(folded: str) -> Iterator[tuple[str, float]]:
    """Names and weights of what is found in a :func:`~gateway.guardrails.plain.plain` text, each once."""
    found = [(name, weight) for name, weight, pattern in RULES if compiled(pattern).search(folded) is not None]
    yield from found
    if found and compiled(_SOFTER).search(folded) is not None:
        yield "denied", -2.0
