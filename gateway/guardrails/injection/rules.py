"""What injections and jailbreaks look like, as weighted rules. One reads a text as an attack from a sum of 1.

Each rule names words of which one must stand in the text before its pattern is tried, and where those are common
also what else must, so that clean text costs one pass. Patterns have bounded gaps and no nested repetition.
"""

# ruff: noqa: E501 (a pattern is read best in one piece)
from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from gateway.guardrails.compiled import compiled

_APART = bytes(one if 97 <= one <= 122 else 32 for one in range(256))
_GAP = r"[^.!?\n]"


class Rule(Struct, frozen=True):
    name: str
    weight: float
    words: frozenset[bytes]
    source: str
    also: tuple[str, ...] = ()

    @property
    def pattern(self) -> re.Pattern[str]:
        return compiled(self.source)

    def fits(self, folded: str) -> bool:
        """Whether its pattern stands in a text that has one of its words."""
        if self.also and not any(map(folded.__contains__, self.also)):
            return False
        return self.pattern.search(folded) is not None


def rule(name: str, weight: float, words: str, pattern: str, also: str = "") -> Rule:
    """``words``: one of them has to stand in a text; ``also``: parts of words, one of which no text lacks that the
    pattern fits (apart by ``|``); ``GAP``: any character within a sentence."""
    needed = tuple(also.split("|")) if also else ()
    return Rule(name, weight, frozenset(words.encode().split()), pattern.replace("GAP", _GAP), needed)


_LAWS = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directions?|directives?|commands?|orders|programming|training"
    r"|constraints?|restrictions?|context|conversations?|input|knowledge|polic(?:y|ies)|told)\b"
)
_KEYS = (
    r"(?:passwords?|pass ?codes?|pass ?phrases?|secret (?:key|code|phrase|word)s?|secrets?|access codes?"
    r"|api keys?|credentials|security (?:key|code)s?)\b(?! (?:polic|manager|hash|field|reset|strength))"
)
_NOT_MY_ORDERS = r"(?! (?:(?:all|any|both) )?(?:of )?(?:my|our) (?:\w{1,20} )?(?:orders|conversations?|input)\b)"
"""A customer's own, which are hers to take back."""
_NOT_PAPERS = (
    r"(?! (?:invoice|order|e-?mail|offer|quote|version|booking|payment|deliver|ticket|request|reservation|draft|appointment"
    r"|reminder|letter|call)s?)"
)
_FORGET = r"\b(?:ignor\w{0,6}|missachte|vergiss|vergesse|olvida|oublie[zs]?|dimentica|esque\w{0,4})\b(?! (?:nicht|pas)\b)"
_YOURS = (
    r"(?:alle|deine|eure|ihre|bisherigen|vorherigen|obigen|todas|tus|sus|toutes|tes|vos|tutte|tue|vostre|todas|suas|tuas)"
)
RULES = (
    rule(
        "override", 1.0, "ignore ignoring disregard forget override neglect bypass dismiss",
        r"\b(?:ignor(?:e|ing)|disregard|forget|override|neglect|bypass|dismiss)\b" + _NOT_MY_ORDERS + r"GAP{0,30}?"
        r"\b(?:all|any|every|your|these|those|previous|prior|above|earlier|preceding|past|pre|before)\b"
        r"GAP{0,40}?\b" + _LAWS
        + r"|\b(?:ignore|disregard|forget)\b (?:about )?the (?:\w{1,20} )?" + _LAWS + r" (?:above|before|earlier|(?:that )?(?:you|i|we)\b|given)",
    ),
    rule(
        "override-all", 1.0, "ignore disregard forget",
        r"(?<!you )(?<!i )\b(?:ignore|disregard|forget)\b(?! what (?:i|we) (?:just )?(?:said|wrote|asked|meant)\b) (?:about )?(?:(?:every ?thing|everthing|all|anything|what(?:ever)?)"
        r" (?:\w+ )?(?:you|i|we|above|before|prior|said|was|were)\b" + _NOT_PAPERS + r"|(?:the )?(?:above|foregoing)\b)",
    ),
    rule(
        "override-translated", 1.0,
        "ignora ignore ignorez ignorar ignoriere ignorieren missachte vergiss vergesse olvida oublie oubliez dimentica esqueça esque",
        _FORGET + r"GAP{0,40}?\b(?:instruc(?!tions?\b)\w{3,8}|instruç\w{3,8}|anweisung\w{0,4}|instruktion\w{0,4}|istruzion\w|consignes)\b"
        r"|" + _FORGET + r"GAP{0,24}?\b(?:tes|vos|ces|toutes|toutes les) (?:\w+ )?instructions\b"
        r"|" + _FORGET + r"GAP{0,24}?\binstructions (?:précédentes|antérieures|ci-dessus|données)\b"
        r"|" + _FORGET + r"GAP{0,24}?\b" + _YOURS + r" (?:\w+ ){0,2}(?:regeln|richtlinien|vorgaben|reglas|règles|regole|regras)\b"
        r"|" + _FORGET + r"GAP{0,24}?\b(?:reglas|règles|regole|regras) (?:anteriores|previas|précédentes|antérieures|precedenti)\b"
        r"|\bvergiss alles,? was (?:du|dir|ich|wir|man|vorher|bisher|zuvor)\b",
    ),
    rule(
        "override-elsewhere", 1.0,
        "negeer vergeet zignoruj zapomnij nceki ignorera ignorer qua qu abaikan lupakan ignoruj unohda ohita sivuuta ignor uit hagyd",
        r"\b(?:negeer|vergeet)\b[^.\n]{0,30}\b(?:instructies|opdrachten|regels)\b"
        r"|\b(?:zignoruj|zapomnij)\b[^.\n]{0,30}\b(?:instrukcje|polecenia|zasady)\b"
        r"|\bönceki\b[^.\n]{0,20}talimat\w{0,6}[^.\n]{0,10}(?:yok say|unut|görmezden)"
        r"|\bignorera\b[^.\n]{0,30}\b(?:instruktioner|anvisningar|regler)\w{0,3}\b"
        r"|\bignorer\b[^.\n]{0,30}\b(?:instruktioner|instruksjoner|instrukser|anvisninger|regler)\w{0,3}\b"
        r"|\b(?:bỏ qua|quên)\b[^.\n]{0,30}\b(?:hướng dẫn|chỉ dẫn|chỉ thị|quy tắc)[^.\n]{0,12}\btrước"
        r"|\b(?:abaikan|lupakan)\b[^.\n]{0,30}\b(?:instruksi|perintah|aturan)\b[^.\n]{0,12}\b(?:sebelumnya|di atas)\b"
        r"|\bignoruj\b[^.\n]{0,30}\b(?:předchozí|všechny)\b[^.\n]{0,20}\b(?:instrukce|pokyny|příkazy)\b"
        r"|\b(?:unohda|ohita|sivuuta)\b[^.\n]{0,20}\b(?:aiem|edelli)\w{1,8} (?:ohjee|sään)\w{1,5}\b"
        r"|\b(?:ignoră|uită)\b[^.\n]{0,20}\b(?:instrucțiunile|regulile)\b[^.\n]{0,12}\b(?:anterioare|precedente|de mai sus)\b"
        r"|hagyd figyelmen kívül[^.\n]{0,20}(?:korábbi|előző)[^.\n]{0,12}(?:utasítás|szabály)",
    ),
    rule(
        "mode", 0.8, "anything developer debugging debug mode jailbreak jailbroken day dan devmode",
        r"\bdo anything now\b(?! (?:about|with|regarding|that)\b)|\b(?:developer|debug(?:ging)?|god|dan|jailbreak|unrestricted|evil|chaos) mode\b"
        r"|\bopposite (?:day|mode)\b|\bdan\bGAP{0,20}(?:stands for|mode|do )|\bstay a dan\b|\bas (?:a )?dan\b"
        r"|\b(?:are|r) dan\b|\b(?:you are|you're|been) jailbroken\b|\b\w{3,20} mode enabled\b",
        also="do anything now| mode|opposite day|dan|jailbroken",
    ),
    rule(
        "freed", 0.6,
        "no without free freed not bound broken bypass ignores devoid lacks zero beyond regardless any all cares",
        r"\b(?:no|without(?: any)?|freed?|not bound|unbound|broken free|bypass\w{0,3}|ignores?|devoid|lacks?|zero"
        r"|beyond|regardless|does ?n[o']t (?:care|have)|do not have|never cares|outside)\bGAP{0,48}?"
        r"\b(?:restrictions?|filters?|limit(?:s|ation)s?|limitations?|moral\w{0,6}|ethic\w{0,6}|censor\w{0,4}"
        r"|prohibitions|confines|boundaries|openai|(?:safety )?guidelines?|rules or|legality|content polic\w{1,3}|laws)\b",
        also="restrict|filter|limit|moral|ethic|censor|prohibition|confine|boundar|openai|guideline|rules or|legality|content polic|law",
    ),
    rule("unfiltered", 0.4, "unfiltered unfiltred uncensored unrestricted unhinged unlimited nsfw",
          r"\bun(?:filtere?d|filtred|censored|restricted|hinged)\b|\bnsfw\b"),
    rule("amoral", 0.3, "amoral immoral nonmoral unethical illegal inhumane harmful racist offensive evil",
          r"\b(?:amoral|immoral|nonmoral|unethical|illegal|inhumane|harmful|racist|offensive|evil)\b"),
    rule("amoral-twice", 0.3, "amoral immoral nonmoral unethical illegal inhumane",
          r"\b(amoral|immoral|nonmoral|unethical|illegal|inhumane)\b(?:, (?:and |or )?|/| (?:and|or) )"
          r"(?:\w+,? (?:and |or )?)?\b(?:amoral|immoral|unethical|illegal|harmful|inhumane|unmoral|dangerous)\b"),
    rule(
        "never-refuse", 0.6, "refuse refuses deny denies decline reject apologize warnings warning warn disclaimers"
        " disclaimer desclaimer moralizing censor refusing sorry explanations",
        r"\b(?:never|not|won't|can't|cannot|don't|doesn't|without|no|delete|any)\bGAP{0,36}?"
        r"\b(?:refus\w{0,3}|den(?:y|ies)|decline|reject|apologi[sz]\w{0,3}|warn\w{0,5}|d[ei]s?cl?ai?mers?"
        r"|disclamers?|moraliz\w{0,3}|censor)\b|\bnoGAP{0,12}i am sorry\b",
    ),
    rule(
        "role", 0.4, "act acting pretend role roleplay roleplaying embody immerse impersonate impersonating personify"
        " simulate character persona named called playing",
        r"\b(?:act(?:ing)?|pretend|answer|respond|behave) (?:to be|as|like)\b|\brole[ -]?play\w{0,3}\b|\brole of\b"
        r"|\b(?:embody|immerse yourself|impersonat\w{1,3}|personify|persona|simulate)\b"
        r"|\b(?:ai|bot|model|chatbot|character|assistant)\bGAP{0,24}\b(?:named|called|known as)\b|\bplaying a character\b",
    ),
    rule(
        "from-now-on", 0.35, "now rest remainder henceforth moment subsequent next",
        r"\b(?:from|as of|starting) (?:now|this moment)\b|\byou(?: are|'re) (?:now|about to)\b"
        r"|\bfor the (?:rest|remainder) of (?:this|the|our)\b|\bhenceforth\b|\b(?:all|every) subsequent\b"
        r"|\bnow (?:on|take)\b|\bmy next instruction\b",
        also="from now|of now|ing now|this moment|you are|you're|for the re|henceforth|subsequent|now on|now take|my next instruction",
    ),
    rule("in-character", 0.5, "character char persona",
          r"\b(?:stay|staying|remain|keep|break|breaking|out of|fall out of|be)(?: \w+)? (?:in |of )?(?:char(?:acter)?|persona)\b"),
    rule(
        "answers-all", 0.5, "any every all anything always whatever everything nothing",
        r"\b(?:answers?|respond\w{0,2}|repl(?:y|ies)|fulfil\w{0,3}|generates?|says?|returns?|produces?|creation of|capable of|do|create)"
        r" (?:to |of |literally |and \w+ )?(?:any|every|all|anything|everything|whatever)\b"
        r"|\balways (?:answers?|respon[ds]{1,2}|compl(?:y|ies)|obeys?|fulfil\w{0,3}|sends?)\b",
        also="answer|respon|repl|fulfil|generat|say|return|produc|creat|capable|do |compl|obey|send",
    ),
    rule("addresses-model", 0.35, "chatgpt openai gpt clyde ai chatbot bard llm dan",
          r"\b(?:chat ?gpt|\w{0,12}gpt|openai|clyde|open ai|large language model|ai language model|language model|my ai|chatbot|ai model|ai bot|an? ai)\b"),
    rule(
        "placeholder", 0.4, "insert enter prompt question query here targetlanguage",
        r"[\[{<(](?:insert|enter|your|paste|user)?[ _]?(?:your|my|the)?[ _]?(?:\w+[ _])?(?:prompt|question|query|request|command)"
        r"(?:[ _.…]{0,4}(?:here)?[ .…]{0,4})[\]}>)]|\bfirst (?:prompt|question|query|request|command)\b(?: is|:|-| -)",
        also="[|{|<|(|first ",
    ),
    rule(
        "dictates-answer", 0.45, "start begin starting beginning preface say saying respond reply format prefix structure",
        r"\b(?:start|begin|preface|prefix)\w{0,4}\bGAP{0,24}\b(?:response|answer|reply|replies|output|sentence|message)s?\b"
        r"GAP{0,24}\b(?:with|using|by|following)\b|\b(?:only|always) (?:respond|reply|answer|say)\b"
        r"|\b(?:respond|reply|answer|output)s?\bGAP{0,8}\bonly (?:as|with|like)\b|\bsaying:? \"|\bexact structure\b"
        r"|\bmust (?:respond|answer|reply)\b|\bin (?:two|2) (?:ways|different)\b|\b(?:two|2) (?:ways|different (?:ways|personalities|responses))\b",
        also="respon|answer|repl|output|sentence|message|only |always |saying|exact structure|two |2 ",
    ),
    rule("affirms", 0.5, "sure", r"\bsure,? (?:here (?:is|are)|here's|sure)\b|\| ?sure\b"),
    rule("questionable", 0.5, "questionable disregard hypothetical hypothetically fictional purely theoretical",
          r"\bbit questionable\b|\bdisregard any possible\b|\bpurely (?:hypothetical|fictional|theoretical|for (?:fiction|research|educat))"
          r"|\bwithin this (?:fictional|hypothetical)|\bhypothetical(?:ly)? (?:story|scenario|and purely|world)\b"),
    rule("not-in-reality", 0.5, "practice life manner purposes reference implementing malicious",
          r"\b(?:never|not) (?:be |to be )?(?:put|used|applied|implement\w{0,3}|intended)\bGAP{0,24}\b(?:practice|real life|malicious|reality)\b"
          r"|\bnot (?:\w+ )?(?:interest|intent)\w{0,4} in implementing\b",
         also="practice|real life|malicious|reality|implementing"),
    rule(
        "fake-system", 0.7, "system instruction instructions inst im user assistant admin message override endoftext",
        r"<\|?(?:im_start|im_end|system|endoftext)\|?>|\[/?(?:inst|sys|system)\]|<</?sys>>|<rule>"
        r"|(?:^|[\n*\[<#])\s?(?:end of |begin )?(?:system|admin|developer) (?:instructions?|message|prompt|override|note|alert|update)\b"
        r"|\b(?:end of system\b|system instructions? begins?\b|user (?:left|has left) the chat\b|user message terminat"
        r"|system override\b|new (?:instructions|programming|directives?)\b|rules? ?= ?[{\[])",
        also="<|[|system|admin|developer|user left|user has left|user message terminat|new instructions|new programming|new directive|rule",
    ),
    rule(
        "asks-for-prompt", 1.0, "prompt instructions instruction guidelines above preprompt developer system hidden",
        r"\b(?:reveal|show|print|repeat|output|tell|give|display|share|leak|copy|recite|summari[sz]e|what (?:is|was|are|were|did))\b"
        r"(?:(?!\ban? (?:\w+ )?system prompt\b)GAP){0,40}?\b(?:system prompt|(?:initial|original|hidden|secret|system|full|exact) (?:instructions?|prompt)"
        r"|your (?:system |initial |original )?(?:instructions|prompt|guidelines)|(?:prompt|instructions|words|text) above(?! (?:the|an?|each|every) (?!line|user|conversation|message))|developer message|(?:your|the|full|whole|entire|hidden) system messages?(?! (?:of|from|that|when|for|in)\b)|conversationGAP{0,24} hidden messages)\b"
        r"|\b(?:translate|convert|encode|quote|include|spell|rephrase|paraphrase|rewrite|contents? of|write down|post)\b"
        r"GAP{0,30}?\b(?:your (?:system|initial|original|hidden|secret|full|exact) (?:prompt|instructions)|the (?:hidden|secret) (?:prompt|instructions))\b",
        also="reveal|show|print|repeat|output|tell|give|display|share|leak|copy|recite|summari|what |translate|convert|encode|quote|include|spell|phrase|rewrite|content|write down|post",
    ),
    rule(
        "asks-for-beginning", 1.0, "above before preceding",
        r"\b(?:repeat|print|output|copy|recite|echo|dump)\b (?:back )?(?:me )?(?:everything|all(?: of)?(?: the)?(?: text| words| content)?|what is written)"
        r" (?:above|before this|preceding)\bGAP{0,40}?\b(?:start\w{0,3}|begin\w{0,4}|verbatim|word for word|exactly|code ?block|this line)\b"
        r"|\b(?:text|words|instructions|lines|written|content|message)\bGAP{0,16}? (?:before|above|preceding) (?:my|our|the user's) (?:very )?first (?:message|prompt|question)\b",
        also="repeat|print|output|copy|recite|echo|dump|first message|first prompt|first question",
    ),
    rule(
        "void", 1.0, "void null revoked cancelled canceled suspended lifted obsolete exist apply stop obeying",
        r"\b(?:all|any|your|these|those)(?: of)?(?: the| your)? (?:(?:previous|prior|earlier|above|preceding|other|safety) ){1,2}"
        r"(?:instructions|rules|guidelines|directives|restrictions) (?:is|are|have been|were) (?:now |hereby |all )?(?:void|null|revoked|cancell?ed|suspended|lifted|obsolete)\b"
        r"|\b(?:pretend|imagine|act as (?:if|though)|as if)\b(?: that)? (?:the (?:rules|instructions|guidelines|restrictions) above|(?:the (?:above|previous|prior)"
        r"|your|these) (?:rules|instructions|guidelines|restrictions)) (?:do not|don't|did not|didn't|no longer) (?:exist|apply)\b"
        r"|\bstop (?:following|obeying) (?:all |any )?(?:of )?(?:the |these |those )?(?:your|previous|prior|above|earlier|original|initial|system)\b"
        r" (?:\w+ )?(?:instructions?|prompts?|rules|guidelines|directives)\b",
        also="instruction|rule|guideline|directive|restriction|prompt",
    ),
    rule(
        "override-system", 1.0, "ignore disregard forget bypass override",
        r"\b(?:ignore|disregard|forget|bypass|override)\b (?:(?:the|your|any|all|all of) ){0,2}(?:\w+ )?system (?:prompt|message|instructions)\b",
    ),
    rule(
        "not-to-follow", 1.0, "follow obey",
        r"\b(?<!i )(?<!we )(?<!they )(?:do not|don't|no longer) (?:follow|obey) (?:(?:the|any|those|these) (?:instructions|rules|guidelines|prompt) (?:above|(?:that )?you (?:got|were|have|received)|given|from (?:before|earlier))"
        r"|your (?:\w+ )?(?:instructions|rules|guidelines|prompt)\b)",
        also="not follow|n't follow|longer follow|not obey|n't obey|longer obey",
    ),
    rule(
        "told-before", 1.0, "rules instructions guidelines directives",
        r"\bwhat (?:\w+ )?(?:rules|instructions|guidelines|directives) (?:were you|have you been|did you get|did they give you)\b",
        also="were you|have you been|did you get|did they give",
    ),
    rule("switched-on", 0.4, "enable activate enter unlock",
          r"\b(?:enable|activate|enter|unlock|switch to)\b (?:the |your )?(?:jailbreak|jailbroken|unrestricted|unfiltered|uncensored|evil|chaos|dan) mode\b"),
    rule("suspended", 1.0, "suspended lifted disabled void off",
          r"\byour (?:guidelines|restrictions|safety (?:filters?|guidelines|protocols?|rules|training)|filters|rules|programming|instructions) (?:are|is|have been) (?:now |hereby )?(?:suspended|lifted|disabled|void|switched off|turned off)\b",
         also="your guideline|your restriction|your safety|your filter|your rules|your programming|your instructions"),
    rule("new-orders", 0.4, "instructions directives orders",
          r"\b(?:your|here are the) new (?:instructions|directives|orders) (?:is|are)\b",
         also="new instructions|new directives|new orders"),
    rule("off", 0.4, "disabled deactivated off",
          r"\b(?:safety|content|security) (?:filters?|protocols?|guidelines|polic\w{1,3}|measures)(?: (?:is|are|have been))?(?: now)? (?:disabled|deactivated|switched off|turned off)\b",
         also="safety|content|security"),
    rule(
        "asks-for-secret", 1.0, "password passwords passcode passphrase secret secrets key code credentials pass keys",
        r"\b(?:tell|give|share|reveal|what(?:'s| is| was| are)?|confirm|say|spell|disclose|send|show|provide|repeat|know|recall"
        r"|remind|need|write|print|have|get)\bGAP{0,40}?\b(?:your|our|the (?:system|admin|secret|root|user)(?:'s)?|user's|my own)"
        r" (?:\w+ )?" + _KEYS + r"|\bwhat(?:'s| is) the " + _KEYS
        + r"|\b(?:write|print|spell|say|tell me|give me|reveal|encode) the password\b|\bask\w{0,3} (?:you )?for your " + _KEYS,
        also="your|our |the system|the admin|the secret|the root|the user|user's|my own|what's the|what is the|the password",
    ),
    rule(
        "asks-for-data", 1.0, "database databases records memory logs",
        r"\b(?:print|dump|leak|output|send me)\bGAP{0,16}\byour (?:\w+ )?(?:database|records|memory|logs)\b",
        also="your ",
    ),
    rule(
        "split-payload", 1.0, "part parts strings string combine concatenate concatenation",
        r"\bparts?\b[^\"']{0,60}\bpart (?:1|one|a) (?:is|=|:) ?[\"'][^\"']{0,200}[\"'][^\"']{0,20}\bpart (?:2|two|b) (?:is|=|:) ?[\"']"
        r"|\bstrings\b[^\"']{0,40}\b[a-z] ?= ?[\"'][^\"']{0,200}[\"'][^\"'=]{0,20}\b[a-z] ?= ?[\"']",
        also="part 1|part one|part a|strings",
    ),
    rule(
        "asks-for-prompt-translated", 1.0,
        "prompt systemprompt prompts anweisungen anweisung instructions instrucciones istruzioni sistema instru",
        r"\b(?:zeig\w{0,2}|nenn\w{0,2}|gib|verrat\w{0,2}|wiederhol\w{0,2}|drucke)\bGAP{0,30}?\b(?:dein\w{0,2}|euer\w{0,2}|ihr\w{0,2}|den|das) (?:\w+ )?(?:system-?prompts?|systemanweisungen?|(?:geheimen?|ursprünglichen?|internen?) anweisungen)\b"
        r"|\b(?:montre|affiche|révèle|donne|répète|dis)(?:z|s)?\b(?:-moi)?GAP{0,20}?\b(?:(?:ton|votre|le) prompt\b|(?:tes|vos) instructions (?:système|cachées|initiales|secrètes|d'origine))"
        r"|\brévèle[zs]? (?:tes|vos) instructions\b"
        r"|\b(?:muéstra\w{0,3}|muestra\w{0,3}|revela|dime|repite|imprime|escribe)\bGAP{0,20}?\b(?:(?:tu|su|el) prompt\b|(?:tus|sus) instrucciones (?:de sistema|del sistema|ocultas|iniciales|secretas)|(?:las )?instrucciones de tu sistema)"
        r"|\b(?:mostra\w{0,2}|rivela|dimmi|ripeti|scrivi|stampa)\bGAP{0,20}?\b(?:(?:tuo|il) prompt\b|(?:tue )istruzioni (?:di sistema|nascoste|iniziali|segrete))"
        r"|\b(?:mostre|revele|diga|repita|escreva)\bGAP{0,20}?\b(?:(?:seu|teu|o) prompt (?:de|do) sistema|(?:suas|tuas) instruções (?:de sistema|ocultas|iniciais|secretas))",
    ),
    rule(
        "freed-translated", 0.6, "ohne sin sans senza sem aucune au",
        r"\b(?:ohne (?:jede |jegliche |alle )?(?:filter|einschränkungen|zensur|regeln)|sin (?:ninguna? )?(?:restricciones|restricción|filtros?|censura|reglas)"
        r"|sans (?:aucune? )?(?:restrictions?|filtres?|censure|règles?)|senza (?:alcuna )?(?:restrizioni|filtri|censura|regole)|sem (?:restrições|filtros|censura|regras))\b"
        r"|\baucune (?:règle|restriction)\b|\bregeln außer kraft\b",
    ),
    rule(
        "role-translated", 0.4, "bist act ahora agis fais maintenant sormais ora agisci comportati agora tue setze",
        r"\bdu bist (?:jetzt|nun|ab jetzt)\b|\bactúa como\b|\b(?:ahora eres|eres ahora)\b|\bagis (?:comme|en tant que)\b|\bfais comme si\b|\btu es (?:maintenant|désormais)\b"
        r"|\b(?:ora sei|sei ora|agisci come|comportati come)\b|\bvocê (?:agora é|é agora)\b|\btue so, als\b|\bsetze deine regeln\b",
    ),
    rule(
        "asks-for-secret-translated", 1.0, "passwort contrase password mot parola senha passe wachtwoord kennwort",
        r"\b(?:cuál es|dime|dame|sag\w?|geben|gib|nenn\w{0,2}|verrat\w{0,2}|quel est|dis-moi|donne[zs]?|qual é|diga|dimmi|"
        r"wat is|was ist|wie lautet)\bGAP{0,40}?\b(?:contraseña|passwort|kennwort|mot de passe|senha|parola|wachtwoord)\b"
        r"|\b(?:ihr|dein|euer|su|tu|votre|ton|sua|la tua|uw|je) (?:contraseña|passwort|kennwort|mot de passe|senha|password)\b",
    ),
    rule(
        "asks-for-person", 1.0, "user users user's",
        r"\b(?:tell|give|share|reveal|what|where|confirm|disclose)\bGAP{0,40}?\bthe user(?:'s|s)? "
        r"(?:\w+ )?(?:lives?|birth\w{0,4}|address|phone|home|city|location|age|salary|name)\b",
        also="the user",
    ),
)  # fmt: skip
_BY_WORD = {word: [one for one in RULES if word in one.words] for rule in RULES for word in rule.words}
_TELLING = frozenset(_BY_WORD)
_FOREIGN = re.compile(
    r"(?:忽略|无视|無視|忘记|忘れ)[^。\n]{0,20}(?:指令|说明|規則|规则|提示|指示|命令)"
    r"|(?:前|以前|上記|これまで)[^。\n]{0,8}(?:指示|命令)[^。\n]{0,8}(?:無視|忘れ)"
    r"|تجاهل[^.\n]{0,20}(?:التعليمات|الأوامر)"
    r"|(?:игнорируй|забудь|проигнорируй)[^.\n]{0,40}(?:инструкци|указани|правил)"
    r"|이전[^.\n]{0,12}(?:지시|명령|지침)[^.\n]{0,10}무시"
    r"|(?:पिछले|सभी)[^।\n]{0,20}निर्देश[^।\n]{0,20}(?:अनदेखा|भूल)"
    r"|(?:ігноруй|проігноруй|забудь)[^.\n]{0,40}(?:інструкці|вказівк|правил)"
    r"|(?:αγνόησε|ξέχασε)[^.\n]{0,30}(?:οδηγίες|εντολές|κανόνες)"
    r"|(?:显示|顯示|输出|輸出|打印|告诉我|告訴我|重复|重複|透露|泄露)[^。\n]{0,12}(?:系统提示|系統提示|系统指令|系統指令|初始指令|隐藏指令)"
    r"|(?:システムプロンプト|システム指示|隠された指示)(?:の内容|の全文)?を[^。\n]{0,8}(?:出力|表示|教え|見せ|開示)"
    r"|(?:시스템 ?프롬프트|시스템 ?지시)[^.\n]{0,10}(?:출력|보여|알려|공개)"
    r"|(?:покажи|выведи|раскрой|напиши|повтори|назови)[^.\n]{0,20}(?:системн\w{1,4} (?:промпт|инструкци|сообщени)|свои (?:скрытые |начальные )?инструкци)"
    r"|(?:покажи|виведи|розкрий|напиши)[^.\n]{0,20}системн\w{1,4} (?:промпт|інструкці)"
    r"|(?:你的|您的)(?:密码|密碼|系统提示)(?:是什么|是什麼)|(?:教えて|ください)[^。\n]{0,6}パスワード|パスワード(?:を教え|は何)"
)


def matches(folded: str, more: tuple[Rule, ...] = ()) -> Iterator[tuple[str, float]]:
    """Names and weights of the rules that fit a text, each once. ``folded``: see ``plain``; ``more``: further rules."""
    words = folded.encode("ascii", "replace").translate(_APART).split()
    told = _TELLING.intersection(words)
    for one in {one.name: one for word in told for one in _BY_WORD[word]}.values() if told else ():
        if one.fits(folded):
            yield one.name, one.weight
    for one in more:
        if not one.words.isdisjoint(words) and one.fits(folded):
            yield one.name, one.weight
    if not folded.isascii() and _FOREIGN.search(folded) is not None:
        yield "override-translated", 1.0


_OPENERS = {"(": ")", "[": "]", "{": "}"}
_BRACKET = re.compile(r"[()\[\]{}]")
_BANGS = "! " * 8
_NO_PROSE = re.compile(r"[^\w ,']|[\d_]")
_CALL = re.compile(r"(?<=\w)\([\w ,]*\)")
"""f(n) and print(x, y) are how people write, and close."""
_TAIL = 400
_SMILEY = re.compile(r"[:;]-?[()]")
_GLUED = re.compile(
    r"[)\]}>.!?,;:'\"`]{2,}[({\[\\<]|[({\[\\]{2,}[^\s\w]?|\w[\[{(\\]\w|[.]{5}|[$%^|\\_`~<>]{2,}|\w[)\]}]+[.,;]?\["
)
_LETTERS = re.compile(r"[^\W\d_]{2,}")


def structure(text: str) -> Iterator[tuple[str, float]]:
    """Machine-made suffixes: brackets that open and never close after prose, mixed alphabets, rows of marks."""
    tail = text[-_TAIL:]
    if _BANGS in tail:
        yield "row-of-marks", 0.6
    # A suffix is one line; code is not.
    if "\n" not in tail and _BRACKET.search(tail) is not None and _starts_as_prose(text):
        clean = _SMILEY.sub(" ", tail)
        unclosed = _unclosed(clean, cut=len(text) > _TAIL)
        if unclosed >= 2 or (unclosed >= 1 and len(_GLUED.findall(_CALL.sub("", clean))) >= 3):
            yield "adversarial-suffix", 1.0
    if not tail.isascii() and any(map(_is_beyond_latin, set(tail))) and sum(map(_mixed, _LETTERS.findall(tail))) >= 2:
        yield "mixed-alphabets", 0.7


def _starts_as_prose(text: str) -> bool:
    head = text[:50]
    return len(head) - len(_NO_PROSE.findall(head)) >= 0.95 * len(head) > 28


def _unclosed(text: str, *, cut: bool) -> int:
    """Brackets without their other half. ``cut``: text came before, so one that only closes may have opened there."""
    expected: list[str] = []
    stray = 0
    for mark in _BRACKET.findall(text):
        if mark in _OPENERS:
            expected.append(_OPENERS[mark])
        elif expected and expected[-1] == mark:
            expected.pop()
        elif expected or not cut:
            stray += 1
    return len(expected) + stray


def _mixed(word: str) -> bool:
    """Latin letters and letters beyond Latin in one word. Accented letters are Latin too."""
    return any(letter < "\u0250" for letter in word) and any(map(_is_beyond_latin, word))


def _is_beyond_latin(sign: str) -> bool:
    return "\u0370" <= sign < "\ufe00" and sign.isalpha()
