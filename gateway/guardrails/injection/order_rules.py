"""What orders look like that stand in data: in what tools returned, and in documents. Weighted as ``rules``.

Who wrote such a text has nothing to order, so that a request is telling here which is every user's right elsewhere:
what to put into the answer, what to do with the user's accounts, whom to send things to. Texts are ``plain``.
"""

# ruff: noqa: E501 (a pattern is read best in one piece)
from __future__ import annotations

from gateway.guardrails.injection.rules import Rule, rule

# Where a sentence, a line or a value begins.
_START = (
    r"(?:^|[\n\"'“>|]|[.!?:;] ?|\d\) )(?:please,? |kindly |hey,? |hi,? |now,? |then,? |also,? |and |just |first,? |next,? "
    r"|(?:can|could|would|will) you (?:please |kindly )?|you (?:must|should|need to|have to) |i need you to |i want you to ){0,4}"
)
_LINE = r"(?:\A(?=[^\n]*\n[^\n]{0,2}\n?\S)|\n)"  # a line of a text that has others too
_MAIL = r"[\w.+-]+@[\w-]+\.\w"
_THEIRS = r"(?:my|our|the user's|user's|this user's|his|her)"
_READING = r"(?:retrie?ve|fetch|find|get|search|look up|collect|gather|download|extract|export|copy|access|read|view|list|check|obtain|save|show)"
_SENDING = r"(?:send|e-?mail|forward|mail|share|upload|post|transmit|transfer|submit|deliver)"
_OWNED = (
    r"(?:accounts?|profiles?|passwords?|credentials?|data|details|information|records?|history|shipments?|locations?|address(?:es)?"
    r"|contacts?|payments?|cards?|balances?|files?|documents?|notes?|e-?mails?|messages?|inbox|calendars?|photos?|reports?|orders?"
    r"|transactions?|statements?|prescriptions?|policy|policies|keys?|tokens?|searches|appointments?|devices?|schedules?)"
)
_WITHIN = r"(?:[^.!?\n]|[.!?](?! ))"  # a sentence, addresses and quotations in it
_GUARDED = (
    r"(?:two-factor|2fa|twofactor|multi-factor|mfa|authentication|firewall|anti-?virus|alarm|security|protection|encryption"
    r"|backups?|locks?|cameras?|monitoring|account|device)"
)
_ANSWER = r"(?:response|reply|answer|output|summary|completion)"
_WRITING = (
    r"(?:append|incorporate|insert|integrate|introduce|inject|embed|begin|start|end|finish|conclude|convert|change|modify|alter"
    r"|adjust|rephrase|rewrite|rearrange|reorder|replace|remove|drop|omit|delete|render|present|craft|compose|deliver|express"
    r"|encode|encrypt|obfuscate|scramble|shuffle|misspell|anagram|group|reverse|translate|spell|swap|substitute|shift|use|employ|apply"
    r"|weave|slip|sneak|hint|suggest|recommend|advertise|promote|encourage|ensure|make|format|transform|mask|hide|write|limit"
    r"|capitali[sz]e|alternate|double|mix|jumble|repeat|tease|share|build|"
    r"(?:include|mention|provide|add|give|attach|put|place|quote|state)(?! (?:your|this|the|these|any|all|my|our|it|that)\b))"
)

ORDERS: tuple[Rule, ...] = (
    rule(
        "how-to-answer", 1.0, "response reply answer output summary completion",
        _START + _WRITING + r"\b" + _WITHIN + r"{0,110}?\b(?:your|the final) (?:\w+ )?" + _ANSWER + r"\b"
        r"|" + _START + r"(?:provide|give|put|deliver|write|add|include) your (?:\w+ )?" + _ANSWER + r" (?:in|as|using|with|to|only)\b"
        r"|" + _START + r"(?:in|within|throughout|at the (?:end|beginning|start) of) your (?:\w+ )?" + _ANSWER + r",? (?!to\b)[a-z]{3,}"
        r"|" + _START + r"(?:render|encode|encrypt|scramble|obfuscate|translate|mask|express|deliver|present|transform) your message\b",
    ),
    rule(
        "task-in-text", 1.0, "translate summarize summarise paraphrase write compose draft create generate explain provide",
        _LINE + r"(?:translate|paraphrase|summari[sz]e) (?:the|this) (?:following|next|sentence|phrase|paragraph|passage)\b"
        r"|" + _LINE + r"(?:write|compose|draft|create|generate) (?:me )?an? (?:\w+ ){0,3}(?:poem|letter|essay|story|e-?mail|song|haiku|program"
        r"|tweet|speech|limerick|joke|cover letter|blog post|dialogue)\bGAP{0,200}[.!?]?(?:\n[^\n]{0,2})?(?:\Z|\n)"
        r"|" + _LINE + r"explain (?:the (?:theory|concept|difference|process|principle|significance)|how to|what an?)\bGAP{0,120}[.!?]?(?:\Z|\n)"
        r"|" + _LINE + r"provide (?:me )?(?:with )?an example of how\b",
    ),
    rule(
        "to-the-model", 1.0, "ai assistant assistants llm chatbot agent agents model models gpt claude chatgpt copilot gemini",
        r"\b(?:dear|attention|hey|hello|hi|note (?:to|for)|messages? (?:to|for)|instructions? (?:to|for)|notice (?:to|for)|to any|to all|to the)"
        r",?:? (?:the |any |all |an |every )?(?:ai|assistant|language model|llm|chatbot|chatgpt|gpt|claude|gemini|copilot)s?\b(?: (?:agent|assistant|model|reader|system)s?\b)?[,:;.!)\]]"
        r"|\bif you(?: are|'re) an? (?:\w+ )?(?:ai|assistant|language model|llm|chatbot|automated)\b"
        r"|\b(?:ai|llm|language model|assistant)s? (?:agents? |assistants? |models? )?(?:reading|processing|parsing|summari[sz]ing) this\b",
    ),
    rule(
        "behind-the-user", 1.0, "user users",
        r"\b(?:do not|don't|never|without) (?:\w+ )?(?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?|reveal(?:ing)?|alert(?:ing)?|notify(?:ing)?|ask(?:ing)?|show(?:ing)?)\b"
        r"GAP{0,40}?\bthe user\b|\bthe user (?:has )?(?:wants?|asked|authori[sz]ed|requested|expects?|told|allows?|instructed) (?:you|the (?:ai|assistant|agent|model))\b"
        r"|\b(?:tell|inform|convince|ask|direct|instruct|urge|persuade) the user (?:that|to)\b",
    ),
    rule(
        "sends-away", 1.0, "send sends email e-mail mail forward share upload post transmit transfer submit",
        _START + _READING + r"\b(?>[^\n]{0,60}?\b" + _OWNED + r"\b)(?>[^\n]{0,120}?\b" + _SENDING + r"\b)[^\n]{0,80}?(?:" + _MAIL + r"|https?:)"
        r"|" + _START + _SENDING + r"\b (?:\w+ ){0,2}?" + _THEIRS + r"\b(?>[^\n]{0,60}?\b(?:to|with)\b)[^\n]{0,60}?(?:" + _MAIL + r"|https?:)"
        r"|" + _START + _READING + r"\b(?>[^\n]{0,40}?\b" + _THEIRS + r" )(?>[^\n]{0,60}?\b" + _SENDING + r"\b) (?:it|them|the|all|this|that|these|those)\b[^\n]{0,60}?\bto\b",
    ),
    rule(
        "moves-money", 1.0, "deposit transfer withdraw wire send pay donate",
        _START + r"(?:(?:deposit|transfer|withdraw|wire|send|pay|donate)(?! (?:payments?|transfers?|of|fees?)\b)|initiate an? (?:\w+ )?(?:transfer|payment|withdrawal) of)\b(?>[^\n.]{0,30}?(?:[$€£] ?\d|\d[\d,.]{0,12} ?(?:usd|us dollars|dollars|eur|euros?|gbp|pounds|yen|btc|bitcoins?|eth\w{0,6}|usdt|inr|cad|aud|chf)\b))"
        r"[^\n]{0,60}?\b(?:my|from|wallet|iban|binance|bank|account)\b",
    ),
    rule(
        "opens-up", 1.0, "disable deactivate turn switch remove delete uninstall grant give update change modify set edit add unlock open allow enable share",
        _START + r"(?:disable|deactivate|turn off|switch off|uninstall|remove|delete)\b(?>[^\n.]{0,50}?\b" + _GUARDED + r"\b)[^\n.]{0,60}?\b" + _THEIRS + r"\b"
        r"|" + _START + r"(?:disable|deactivate|turn off|switch off|uninstall|remove|delete)\b(?>[^\n.]{0,20}?\b" + _THEIRS + r"\b)[^\n.]{0,40}?\b" + _GUARDED
        + r"|" + _START + r"(?:grant|give|allow|provide|add|enable|share)\b(?>[^\n.]{0,60}?\b(?:access|permissions?|admin\w*|privileges|rights|can_edit|collaborator|authori[sz]ed user)\b)[^\n]{0,80}?(?:" + _MAIL + r"|\bmy friend\b|\buser ?(?:id|name)?\b|\b" + _THEIRS + r"\b)"
        r"|" + _START + r"(?:grant|give|allow|provide|add|enable)\b(?>[^\n]{0,60}?" + _MAIL + r")[^\n]{0,40}?\b(?:access|permissions?|admin\w*|privileges|rights|can_edit|collaborator)\b"
        r"|" + _START + r"(?:update|change|modify|set|edit)\b[^\n.]{0,30}?\b(?:security polic\w+|sharing (?:settings?|level)|permissions?|privacy settings|access (?:level|rights|control)|whitelist|allowlist)\b"
        r"|" + _START + r"(?:unlock|open)\b (?:\w+ )?(?:the |my )?(?:\w+ ){0,2}?(?:door|house|car|garage|safe|gate)\b",
    ),
    rule(
        "tampers", 1.0, "update change modify set replace delete remove alter add edit record",
        _START + r"(?:update|change|modify|set|replace|reset|edit)\b (?:my|the user's|our) (?>[^\n]{0,50}?\b(?:e-?mail|password|phone|address|location|birthday|recovery|profile|account|bank|settings?|payment|policy)\b)[^\n]{0,60}?\b(?:to|with|by|from)\b"
        r"|" + _START + r"(?:update|change|modify|delete|remove|alter|edit|add to|erase)\b(?>[^\n.]{0,40}?(?:'s|\bid\b|\bmy\b|\bhis\b|\bher\b))[^\n.]{0,30}?\b(?:health|medical|criminal|patient|bank|credit|employment|tax|insurance|school|academic)\b ?(?:records?|history|data|reports?|profile|information|status)\b",
    ),
)  # fmt: skip


def is_data(text: str) -> bool:
    """Whether a text that somebody sent as their own is a whole object or list of values: a program's answer."""
    bare = text.strip()
    return len(bare) > 1 and bare[0] + bare[-1] in ("{}", "[]") and ("':" in bare or '":' in bare)
