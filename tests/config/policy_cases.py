"""Bad policies, each with exactly what must be said about it."""

from __future__ import annotations

from gateway.access.keys import new_key

GATEWAY = """\
server: {host: 127.0.0.1, port: 8080}
providers:
  openai: {type: openai, api_key: "${OPENAI_API_KEY}"}
  students: {type: classifier}
"""
ROUTING = """\
tasks:
  - name: triage
    policy: cost_first
    teacher: {provider: openai, model: gpt-4o, may_train_on_outputs: true}
    capture: {rate: 1.0}
    learn: {target: 0.95}
policies:
  - name: cost_first
    strategy: cascade
"""


def routing(old: str, new: str) -> dict[str, str]:
    assert old in ROUTING
    return {"routing.yaml": ROUTING.replace(old, new)}


def gateway(old: str, new: str) -> dict[str, str]:
    assert old in GATEWAY
    return {"gateway.yaml": GATEWAY.replace(old, new)}


def more(text: str) -> dict[str, str]:
    return {"more.yaml": text}


KEY = "a-long-and-unlikely-text-4711"
CASES: list[tuple[str, dict[str, str], list[str]]] = [
    ("unknown policy", routing("policy: cost_first", "policy: cost_frist"),
     ["routing.yaml:3: tasks[0].policy: no policy is named 'cost_frist'. Did you mean 'cost_first'?"]),
    ("unknown provider of a teacher", routing("provider: openai", "provider: opnai"),
     ["routing.yaml:4: tasks[0].teacher.provider: no provider is named 'opnai'. Did you mean 'openai'?"]),
    ("unknown provider of a candidate",
     routing("strategy: cascade", "candidates: [{provider: nobody, model: x}]"),
     ["routing.yaml:9: policies[0].candidates[0].provider: no provider is named 'nobody'."]),
    ("parameters without a name",
     routing("strategy: cascade", "candidates: [{provider: openai, model: x, parameters: {temperature: 0.1}}]"),
     ["routing.yaml:9: policies[0].candidates[0].parameters: a candidate with parameters of its own needs a name."]),
    ("a variant twice",
     routing("strategy: cascade",
             "candidates: [{provider: openai, model: x, variant: v, parameters: {seed: 1}}, {provider: openai, model: x, variant: v, parameters: {seed: 2}}]"),
     ["routing.yaml:9: policies[0].candidates[1].variant: 'v' is listed twice for this model."]),
    ("unknown section", more("taks: []\n"), ["more.yaml:1: taks: there is no section 'taks'. Did you mean 'tasks'?"]),
    ("unknown field", routing("capture: {rate: 1.0}", "capture: {rat: 1.0}"),
     ["routing.yaml:5: tasks[0].capture.rat: there is no field 'rat' here. Did you mean 'rate'?"]),
    ("unknown field of a provider", gateway("type: classifier", "type: classifier, sokcet: x"),
     ["gateway.yaml:4: providers.students.sokcet: there is no field 'sokcet' here. Did you mean 'socket'?"]),
    ("unknown strategy", routing("strategy: cascade", "strategy: cascad"),
     ["routing.yaml:9: policies[0].strategy: there is no strategy 'cascad'. Did you mean 'cascade'?"]),
    ("unknown provider type", gateway("type: classifier", "type: clasifier"),
     ["gateway.yaml:4: providers.students: there is no provider type 'clasifier'. Did you mean 'classifier'?"]),
    ("unknown gate", more("promotion:\n  shadow:\n    gates: [agreement, latncy]\n"),
     ["more.yaml:3: promotion.shadow.gates[1]: there is no gate 'latncy'. Did you mean 'latency'?"]),
    ("unknown guardrail type", more("guardrails:\n  names: {type: pi}\n"),
     ["more.yaml:2: guardrails.names: there is no guardrail type 'pi'. Did you mean 'pii'?"]),
    ("unknown guardrail", routing("    capture:", "    guardrails: [pii]\n    capture:"),
     ["routing.yaml:5: tasks[0].guardrails[0]: no guardrail is named 'pii'."]),
    ("unknown vendor", gateway('api_key: "$', 'profile: gorq, api_key: "$'),
     ["gateway.yaml:3: providers.openai.profile: there is no vendor profile 'gorq'. Did you mean 'groq'?"]),
    ("wrong literal", routing("target: 0.95", "approval: auto"),
     ["routing.yaml:6: tasks[0].learn.approval: 'auto' is not one of the values that fit. Did you mean 'automatic'?"]),
    ("wrong type", gateway("port: 8080", "port: eighty"),
     ["gateway.yaml:1: server.port: expected a whole number, got text."]),
    ("text for a map", routing("teacher: {provider: openai, model: gpt-4o", "teacher: openai/gpt-4o #"),
     ["routing.yaml:4: tasks[0].teacher: expected a map, got text."]),
    ("in a map of a map", more("limits:\n  projects:\n    one: {concurrency: 1}\n    two: {budget_usd_day: -1}\n"),
     ["more.yaml:4: limits.projects.two.budget_usd_day: expected a number above 0.0."]),
    ("an open variable", gateway("}\"}", "\"}"), ["gateway.yaml:3: providers.openai.api_key: '${OPENAI_API_KEY' has no closing brace. Write ${NAME}."]),
    ("out of range", gateway("port: 8080", "port: 70000"), ["gateway.yaml:1: server.port: expected a whole number of at most 65535."]),
    ("share above one", routing("rate: 1.0", "rate: 1.5"),
     ["routing.yaml:5: tasks[0].capture.rate: expected a number of at most 1.0."]),
    ("missing field", routing("provider: openai, ", ""),
     ["routing.yaml:4: tasks[0].teacher: the required field 'provider' is missing."]),
    ("bad name", routing("name: triage", "name: tri/age"),
     ["routing.yaml:2: tasks[0].name: this is not a name."]),
    ("duplicate key", routing("policy: cost_first", "policy: cost_first\n    policy: other"),
     ["routing.yaml:4: tasks[0].policy: this key is already written at policies/routing.yaml:3."]),
    ("duplicate section", more("\nserver: {port: 1}\n"),
     ["more.yaml:2: server: this section is already written at policies/gateway.yaml:1."]),
    ("duplicate task", routing("policies:", "  - {name: triage, policy: cost_first}\npolicies:"),
     ["routing.yaml:7: tasks[1]: nobody can answer task 'triage'",
      "routing.yaml:7: tasks[1].name: a task named 'triage' is already written at policies/routing.yaml:2."]),
    ("duplicate policy", routing("strategy: cascade", "strategy: cascade\n  - name: cost_first"),
     ["routing.yaml:10: policies[1].name: a policy named 'cost_first' is already written at"]),
    ("duplicate key name", more(f"keys:\n- {{name: a, key: {KEY}}}\n- {{name: a, key: {KEY}2}}\n"),
     ["more.yaml:3: keys[1].name: a key named 'a' is already written at policies/more.yaml:2."]),
    ("same key text", more(f"keys:\n- {{name: a, key: {KEY}}}\n- {{name: b, key: {KEY}}}\n"),
     ["more.yaml:3: keys[1].key: this key is the same as that of 'a'."]),
    ("weak key", more("keys:\n  - {name: dev, key: changeme}\n"),
     ["more.yaml:2: keys[0].key: the key is too weak: it has 8 characters"]),
    ("well-known key", more("keys:\n  - name: dev\n    key: sk-changeme-password-1234\n"),
     ["more.yaml:3: keys[0].key: the key is too weak: it is made of words"]),
    ("key that is cut off", more("keys:\n  - name: dev\n    key: sk-us-0Jw9rXq7LmP2vTz8kQ4nB6cD\n"),
     ["more.yaml:3: keys[0].key: no client could use this key: it begins like those that are made here"]),
    ("key of the admin page", more(f"keys:\n  - name: dev\n    key: {new_key('admin').text}\n"),
     ["more.yaml:3: keys[0].key: no client could use this key: it begins like those that are made here"]),
    ("learning without a teacher",
     routing("    teacher: {provider: openai, model: gpt-4o, may_train_on_outputs: true}\n", "")
     | {"more.yaml": "cache: {enabled: false}\n"},
     ["routing.yaml:2: tasks[0]: nobody can answer task 'triage'",
      "routing.yaml:5: tasks[0].learn: a task that learns needs a teacher."]),
    ("learning without the operator's word", routing(", may_train_on_outputs: true", ""),
     ["routing.yaml:4: tasks[0].teacher: a student is trained on the teacher's answers, and some providers' terms"]),
    ("learning without capture", routing("    capture: {rate: 1.0}\n", ""),
     ["routing.yaml:5: tasks[0].learn: a task that learns needs captured calls."]),
    ("learning from nothing", routing("rate: 1.0", "rate: 0"),
     ["routing.yaml:5: tasks[0].capture.rate: a task that learns captures nothing at rate 0."]),
    ("margin above target", routing("target: 0.95", "target: 0.5, margin: 0.6"),
     ["routing.yaml:6: tasks[0].learn.margin: the margin must be smaller than the target."]),
    ("margin as large as the target", routing("target: 0.95", "target: 0.5, margin: 0.5"),
     ["routing.yaml:6: tasks[0].learn.margin: the margin must be smaller than the target."]),
    ("a language model without a base", routing("target: 0.95", "recipes: [sft]"),
     ["routing.yaml:6: tasks[0].learn.recipes: 'sft' needs a base model to train."]),
    ("a search whose money means nothing", routing("target: 0.95", "search: {budget_usd: 2}"),
     ["routing.yaml:6: tasks[0].learn.search.budget_usd: what an hour costs is not said."]),
    ("an encoder to train that is not there", routing("target: 0.95", "fine_tune: {epochs: 3}"),
     ["routing.yaml:6: tasks[0].learn.fine_tune: there is no encoder to train."]),
    ("a language model that nothing serves, from a teacher nobody hears",
     routing("target: 0.95", "recipes: [distill], calibration: crossfit, generative: {base: m, distillation: {on_policy: 0.5}}"),
     ["routing.yaml:6: tasks[0].learn.calibration: a language model is not cross-fitted.",
      "routing.yaml:6: tasks[0].learn.generative: no engine could serve a language model.",
      "routing.yaml:6: tasks[0].learn.generative.distillation.on_policy: only a local teacher can score",
      "routing.yaml:6: tasks[0].learn.recipes: 'distill' has no teacher whose tokens it could see."]),
    ("a surface of nobody", more("surface:\n  embeddings: opena\n  moderations: {provider: nobody, model: m}\n"),
     ["more.yaml:2: surface.embeddings: no provider is named 'opena'. Did you mean 'openai'?",
      "more.yaml:3: surface.moderations.provider: no provider is named 'nobody'."]),
    ("a surface that is switched off",
     gateway("  students:", '  voices: {type: openai, api_key: "${VOICES_KEY}"}\n  students:')
     | more("surface: {images: voices, audio: openai}\n"),
     ["more.yaml:1: surface.images: provider 'voices' is disabled because $VOICES_KEY is not set in the environment."]),
    ("a webhook without a secret",
     more("limits:\n  alerts:\n    at: [0.5]\n    webhook: https://hooks.example.com/budget\n"),
     ["more.yaml:4: limits.alerts.webhook: a webhook needs a secret"]),
    ("a webhook whose secret is not set",
     more('limits:\n  alerts: {webhook: "https://hooks.example.com/budget", secret: "${ALERT_SECRET}"}\n'),
     ["more.yaml:2: limits.alerts.secret: $ALERT_SECRET is not set in the environment."]),
    ("policy and candidates",
     routing("policy: cost_first", "policy: cost_first\n    candidates: [{provider: openai, model: a}]"),
     ["routing.yaml:4: tasks[0].candidates: a task names a policy or lists candidates, not both."]),
    ("a student of no task", routing("strategy: cascade", "candidates: [{provider: students, model: triag}]"),
     ["routing.yaml:9: policies[0].candidates[0].model: students are named by their task, and no task is named"]),
    ("nobody answers", routing("policies:", "  - name: idle\n    policy: cost_first\npolicies:"),
     ["routing.yaml:7: tasks[1]: nobody can answer task 'idle': it has no teacher"]),
    ("negative weight",
     routing("strategy: cascade", "strategy: {type: weighted, weights: {openai/a: -1}}\n"
             "    candidates: [{provider: openai, model: a}, {provider: openai, model: b}]"),
     ["routing.yaml:9: policies[0].strategy.weights.openai/a: a weight must not be negative."]),
    ("weight of nobody",
     routing("strategy: cascade", "strategy:\n      type: weighted\n      weights:\n        openai/gpt4: 1\n"
             "    candidates: [{provider: openai, model: gpt-4}]"),
     ["routing.yaml:12: policies[0].strategy.weights.openai/gpt4: no candidate of this policy is named"]),
    ("empty match", routing("    capture:", '    match: ""\n    capture:'),
     ["routing.yaml:5: tasks[0].match[0].model: name the model exactly as clients send it."]),
    ("bad fingerprint", routing("    capture:", "    match: {model: m, fingerprint: xyz}\n    capture:"),
     ["routing.yaml:5: tasks[0].match[0].fingerprint: a fingerprint is 16 hex digits"]),
    ("ambiguous match",
     routing("    capture:", "    match: [gpt-4o, gpt-4o]\n    capture:"),
     ["routing.yaml:5: tasks[0].match[1]: task 'triage' matches exactly the same calls."]),
    ("public bind", gateway("127.0.0.1", "0.0.0.0"),
     ["gateway.yaml:1: server.host: '0.0.0.0' can be reached from other machines"]),
    ("host with a scheme", gateway("port: 8080", "allowed_hosts: ['https://x.example']"),
     ["gateway.yaml:1: server.allowed_hosts[0]: 'https://x.example' is not a host name"]),
    ("price of nobody", more("prices:\n  opena: {gpt-4o: {input: 1, output: 2}}\n"),
     ["more.yaml:2: prices.opena: no provider is named 'opena'. Did you mean 'openai'?"]),
    ("negative price", more("prices:\n  openai:\n    m: {input: -1, output: 2}\n"),
     ["more.yaml:3: prices.openai.m.input: expected a number of at least 0.0."]),
    ("price in the wrong unit", more("prices:\n  openai:\n    m: {input: 2500000, output: 2}\n"),
     ["more.yaml:3: prices.openai.m.input: 2.5e+06 US dollars per million tokens cannot be right."]),
    ("cached dearer than fresh", more("prices:\n  openai:\n    m: {input: 1, output: 2, cached_input: 3}\n"),
     ["more.yaml:3: prices.openai.m.cached_input: cached tokens cannot cost more"]),
    ("not a number", more("timeouts:\n  total: .nan\n"), ["more.yaml:2: timeouts.total: a number must be finite."]),
    ("no evidence", more("promotion:\n  canary:\n    gates: [latency]\n"),
     ["more.yaml:3: promotion.canary.gates: without the gate 'agreement'"]),
    ("an encoder that is not there",
     routing("capture: {rate: 1.0}", "capture: {rate: 1.0}\n    semantic_cache: {encoder: /nowhere}"),
     ["routing.yaml:6: tasks[0].semantic_cache.encoder: the encoder's folder '/nowhere' has no config.json."]),
    ("an encoder for graders that is not there", more("fine_tuning:\n  encoder: /nowhere\n"),
     ["more.yaml:2: fine_tuning.encoder: the encoder's folder '/nowhere' has no config.json."]),
    ("a cache on and off", routing("capture: {rate: 1.0}", "capture: {rate: 1.0}\n    cache: false\n    semantic_cache: {}"),
     ["routing.yaml:7: tasks[0].semantic_cache: this task says 'cache: false' too."]),
    ("an index in a Redis that nobody names", routing("capture: {rate: 1.0}", "capture: {rate: 1.0}\n    semantic_cache: {index: redis}"),
     ["routing.yaml:6: tasks[0].semantic_cache.index: this index is Redis', and $UNDERSTUDY_REDIS_URL is not set in the environment."]),
    ("an index in a PostgreSQL that nobody names", routing("capture: {rate: 1.0}", "capture: {rate: 1.0}\n    semantic_cache: {index: pgvector}"),
     ["routing.yaml:6: tasks[0].semantic_cache.index: this index is PostgreSQL's, and $UNDERSTUDY_DATABASE_URL names none in the environment."]),
    ("more than the exact index holds", routing("capture: {rate: 1.0}", "capture: {rate: 1.0}\n    semantic_cache: {max_entries: 50000}"),
     ["routing.yaml:6: tasks[0].semantic_cache.max_entries: the exact index holds 20,000 questions of a task at most."]),
    ("unset variable", more('server2: 1\ncache:\n  ttl_s: "${TTL}"\n'),
     ["more.yaml:1: server2: there is no section", "more.yaml:3: cache.ttl_s: $TTL is not set in the environment."]),
    ("bad variable", more('cache:\n  ttl_s: "${a b}"\n'), ["more.yaml:2: cache.ttl_s: '${a b}' is not a variable."]),
    ("no address", gateway("type: openai", "type: openai, base_url: api.openai.com"),
     ["gateway.yaml:3: providers.openai.base_url: this is not an http(s) address."]),
    ("password in an address", gateway("type: openai", "type: openai, base_url: 'https://u:p@x.example/v1'"),
     ["gateway.yaml:3: providers.openai.base_url: an address must not carry a user"]),
    ("broken YAML", more("a: [1\nb: 2\n"), ["more.yaml:2: not valid YAML:"]),
    ("a list as a file", more("- 1\n"), ["more.yaml:1: a policy file is a map of sections"]),
    ("a map as a list", more("keys: {a: b}\n"), ["more.yaml:1: keys: this section is a list."]),
    ("a tag", more("cache: !!python/object:os.system {}\n"), ["more.yaml:1: cache"]),
    ("a merge key", more("a: &a {x: 1}\ncache:\n  <<: *a\n"),
     ["more.yaml:1: a: there is no section", "more.yaml:3: cache.<<: merge keys are not supported."]),
    ("too deep", more("cache: " + "[" * 60 + "]" * 60 + "\n"), ["more.yaml:1: cache"]),
    ("far too deep", more("cache: " + "[" * 20000 + "\n"), ["more.yaml:1: the file is nested deeper"]),
    ("too large", more("# " + "x" * 1024 * 1024 + "\n"), ["more.yaml:1: the file is larger than"]),
    ("where broken YAML begins", more("a: {b: {c: 1}\ncache: {}\n"), ["more.yaml:2: not valid YAML: expected ',' or '}', but got a value, in what begins on line 1."]),
    ("an entry that is indented otherwise", more("cache:\n  enabled: true\n   ttl_s: 5\n"), ["more.yaml:3: not valid YAML: mapping values are not allowed here"]),
    ("broken YAML that others rely on", gateway("students: {type: classifier}", "students: [type: {classifier}"), ["gateway.yaml:5: not valid YAML:"]),
    ("no time of day", routing("    policy: cost_first\n", "    policy: cost_first\n    rules: [{when: {start: '25:00'}, policy: cost_first}]\n"),
     ["routing.yaml:4: tasks[0].rules[0].when.start: this is not a time of day. Write it in quotes,"]),
    ("a time of day without quotes", routing("    policy: cost_first\n", "    policy: cost_first\n    rules: [{when: {start: 22:00}, policy: cost_first}]\n"),
     ["routing.yaml:4: tasks[0].rules[0].when.start: expected text, got a whole number. Write it in quotes."]),
    ("a health check without an address", more("upstreams: {openai: {health: {url: openai.example}}}\n"),
     ["more.yaml:1: upstreams.openai.health.url: this is not an http(s) address."]),
    ("alerts without an address", more("limits: {alerts: {webhook: hooks.example/budget, secret: a-long-random-text}}\n"),
     ["more.yaml:1: limits.alerts.webhook: this is not an http(s) address."]),
    ("no date", more("models: {openai: {m: {shutdown_date: soon}}}\n"), ["more.yaml:1: models.openai.m.shutdown_date: this is not a date. Write"]),
    ("no host", more("mcp: {hosts: ['https://mcp.example']}\n"), ["more.yaml:1: mcp.hosts[0]: this is not a host. Write"]),
    ("no connector", more("mcp: {connectors: [gmail]}\n"), ["more.yaml:1: mcp.connectors[0]: this is not a connector."]),
    ("a forbidden character", more("cache: {}\x07\n"), ["more.yaml:1: not valid YAML"]),
]  # fmt: skip

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
)
