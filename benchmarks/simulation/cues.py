"""What the simulated teacher listens for: phrases, and how strongly each speaks for a label.

A phrase is matched word by word, without regard to case and to most typing errors. The list was written beside
the tickets' grammar and not generated from it: some of what customers write has no cue of its own here, and many
cues speak for two labels.
"""

# ruff: noqa: E501 - data: lines of phrases

from __future__ import annotations

Cues = dict[str, dict[float, str]]
"""Label → weight → phrases separated by " | "."""

CUES: Cues = {
    "account.login": {
        2.6: "log in | sign in | login code | password reset | account is locked | wrong password | invalid credentials"
        " | account not found | sso | single sign on | forgot my | google login | get into my account",
        1.9: "two factor | 2fa | authenticator | six digit code | my username | lost my phone | changed my phone"
        " | no access to my account | send me a way in | reset link",
        0.8: "login | password | locked | logging in | my account | lost | loops back | sends me in circles",
    },
    "billing.refund": {
        2.7: "refund | money back | charged me | billed me | double charge | duplicate payment | refund me | was charged",
        1.8: "twice | two times | was debited | did not expect | give it back | reverse it | return it | sent back"
        " | the money has not come | please return | get my money | is not right | my money",
        0.9: "charge | statement | on my card | not what i ordered | not for me | send it back | the description | payment",
    },
    "bug.crash": {
        2.5: "crashes | crashed | crashing | closes itself | white screen | stack trace | error page | keeps crashing"
        " | unexpected error | blank page | exception | won't start | won't open",
        1.7: "error | freezes | quits | hangs on the logo | does not start | does not open | stops responding | is gone | froze"
        " | was lost | disappeared | greyed out | does nothing | is broken in | dies",
        0.7: "since the update | after the last update | version | the app | everything | broken | last update",
    },
    "billing.invoice": {
        2.6: "invoice for | vat invoice | receipt | receipts | vat number | po number | the invoices | bill for | line item",
        1.9: "invoice | accounting | bookkeeper | billing address | payment method | direct debit | was declined | copy of the bill"
        " | change the card | card payment | bank transfer | payment failed | my invoice | wrong address"
        " | higher than before | instead of the usual | different from the",
        0.9: "bill | finance | tax id | did not go through | pay | my payment | quote | charge on the",
    },
    "shipping.delay": {
        2.6: "where is my order | my parcel | has not arrived | tracking | the package | tracking number | in transit | is late",
        1.8: "courier | delivery | been waiting | parcel | should have been here | news on | supposed to ship | meant to come"
        " | says delivered | i wait | deliver | what happened to | where is",
        0.8: "my order | waiting | weeks | express | still nothing | order | got it | days for | was promised",
    },
    "billing.cancellation": {
        2.8: "cancel my subscription | want to cancel | please cancel | cancel the | cancel our | cancel my | stop the automatic"
        " | auto renewal | my cancellation | give notice | end my trial | to renew | to be renewed | yearly renewal | cancel button | cancel link",
        1.9: "cancel | my notice | cancellation | automatic renewal | end the contract | stop paying | the renewal | stop my"
        " | free plan from | downgrade me | to the free plan | no longer need | stop the subscription",
        0.9: "subscription | contract | no use for | membership | renews | stop | on the free plan | end my | the trial | notice | any longer",
    },
    "bug.performance": {
        2.6: "very slow | terribly slow | unusably slow | sluggish | times out | takes hours | lags | stutters | takes forever"
        " | takes ages | high memory | load slowly | open slowly | freezes for seconds",
        1.8: "slow | slowly | eats all my memory | gets hot | fan runs | battery is empty | cpu | long wait | minutes to"
        " | 100 percent | it takes",
        0.8: "forever | ages | load | memory | sync | import | minutes",
    },
    "sales.upgrade": {
        2.5: "to upgrade | a quote | an offer for | more seats | more licences | sales team | someone in sales | extra seat"
        " | special price | how much is | your prices",
        1.8: "discount | seats | licences | switch to the | move to the | upgrade to | what does the | more storage"
        " | difference between | bundle | bigger contract | offer for",
        0.7: "per year | users | plan | the plans | price | yearly payment | cost | for new colleagues | people from",
    },
    "feature.request": {
        2.6: "feature request | it would be great | please add | could you add | suggestion | on the roadmap | any plans for"
        " | i wish | would help us",
        1.8: "an option to | a way to | do you plan | competitors | is missing a | lacks | idea | dark mode | public api"
        " | keyboard shortcuts | other tools | why not you",
        0.8: "if one could | allow us | let me | bring it back | old version | languages | could",
    },
    "shipping.damaged": {
        2.7: "arrived broken | arrived damaged | came broken | came damaged | with a cracked | arrived scratched | came scratched"
        " | wrong colour | wrong size | wrong item | you sent the wrong | is missing the | lacks the | was crushed | is bent | broke off | someone else's order",
        1.9: "damaged | cracked | a crack | a dent | a scratch | came without | arrived with | was open | was wet"
        " | does not fit | i unpacked | was loose | came with a",
        0.8: "the box | broken | missing the | is missing | bent | unpacked | the lid | the hinge | the strap",
    },
    "account.deletion": {
        2.8: "delete my account | delete my profile | all my data | my account deleted | personal data erased | to be forgotten"
        " | close my account | delete the account | erase my account | remove my account | erase my data | delete my data",
        1.9: "delete | erase | gdpr | article 17 | data protection | remove everything | close my | remove my | erase everything",
        0.9: "for good | permanently | my data | my profile | what you store | won't come back | export",
    },
    "other.spam": {
        2.8: "seo package | backlinks | click here | claim it now | guest post | sponsored article | trading bot | link exchange"
        " | limited offer | our agency | leading manufacturer | leading agency | have been selected",
        2.0: "boost your | double your | improve your | your ranking | you won | best price | a partnership | from home | crypto"
        " | followers | promotional gifts | loans | pills | watches | visit our site | this simple trick | dear winner",
        0.9: "congratulations | a supplier | web design | earn | your site | your blog | a prize | cheap | a voucher",
    },
    "security.report": {
        2.8: "vulnerability | xss | security hole | phishing | took over my account | logged in to my account | got into my account"
        " | unknown device | was leaked | open endpoint | someone else's data | another customer's invoices | in a breach",
        2.0: "other people's orders | fake message | other users' data | never visited | pretends to be you | api key"
        " | a sign in from | asking for my password | changed my e mail | there are logins | can reproduce it",
        0.8: "stranger | someone logged | somebody from | leaked | places on my account | with your logo | card data | data",
    },
    "escalation.legal": {
        2.7: "my lawyer | our solicitor | my attorney | small claims | consumer protection | trading standards | legal action"
        " | breach of contract | legal steps | ombudsman | consumer law | i sue",
        2.0: "final notice | last warning | chargeback | preparing a claim | compensation | damages | a deadline until",
        0.8: "court | complaint | demand | claim | lawyer",
    },
}

NEGATIONS = frozenset({"not", "don't", "isn't"})
"""A cue within four words after one of these speaks against its label (unless it holds one itself)."""

PAST = frozenset(
    {
        "last time",
        "was fine",
        "was quick",
        "is paid",
        "works fine",
        "came on time",
        "is fine",
        "if this",
        "not the issue",
        "within days",
        "very quickly",
        "ticket",
    }
)
"""Phrases that mark a sentence as told in passing or as a mere threat: its cues count for a fifth."""
