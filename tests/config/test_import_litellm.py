"""`understudy import-config`: LiteLLM's configuration as policies that the gateway takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import main
from gateway.policy.files import read
from gateway.policy.imported.litellm import NotTheirs, from_litellm
from optimizer.routing.attempts import FALLBACK

THEIRS = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: azure/gpt-4o-eu, api_base: os.environ/AZURE_EU_BASE, api_key: os.environ/AZURE_EU_KEY, rpm: 600, region_name: eu}
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-spelled-out-in-the-file, rpm: 300, timeout: 30}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY, temperature: 0.2, stop: END}
  - model_name: cheap/fast
    litellm_params: {model: groq/llama-3.3-70b-versatile, input_cost_per_token: 0.00000059, output_cost_per_token: 0.00000079}
    model_info: {max_input_tokens: 131072}
  - model_name: embed
    litellm_params: {model: text-embedding-3-small, api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: embedding}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
  - model_name: odd
    litellm_params: {model: replicate/some-model}
  - model_name: local
    litellm_params: {model: ollama/llama3, api_base: "http://localhost:11434"}
litellm_settings:
  drop_params: true
  num_retries: 3
  request_timeout: 120
  fallbacks: [{claude: [gpt-4o]}]
  context_window_fallbacks: [{gpt-4o: [claude]}]
  cache: true
  cache_params: {type: redis, ttl: 600}
  success_callback: [langfuse]
router_settings: {routing_strategy: simple-shuffle, model_group_alias: {gpt-4: gpt-4o}, redis_host: localhost}
general_settings: {master_key: sk-9Qv2mX7pLr4Tz8Kd, database_url: "postgresql://user:word@db/x"}
environment_variables: {SOME_SECRET: not-to-be-copied}
"""
SECRETS = ("sk-spelled-out-in-the-file", "sk-9Qv2mX7pLr4Tz8Kd", "user:word", "not-to-be-copied")


def run(tmp_path: Path, text: str = THEIRS) -> tuple[int, Path]:
    source, folder = tmp_path / "config.yaml", tmp_path / "ours"
    source.write_text(text)
    return main(["import-config", str(source), "--out", str(folder)]), folder


def written(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / name).read_text())


def test_the_policies_are_good_and_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, folder = run(tmp_path)
    told = capsys.readouterr().out
    assert status == 0, told
    env = {name: "https://resource.example" if "BASE" in name else f"key-of-{name}" for name in (
        "AZURE_EU_BASE", "AZURE_EU_KEY", "OPENAI_API_KEY", "OPENAI_API_KEY_2", "ANTHROPIC_API_KEY", "GROQ_API_KEY",
        "LITELLM_MASTER_KEY",
    )}  # fmt: skip
    config = read(folder, env).config
    tasks = {task.name: task for task in config.tasks}
    policies = {policy.name: policy for policy in config.policies}
    assert set(tasks) == {"gpt-4o", "claude", "cheap-fast", "local"}
    assert [f"{one.provider}/{one.model}" for one in policies["gpt-4o"].candidates] == [
        "azure/gpt-4o-eu", "openai-2/gpt-4o", "anthropic/claude-sonnet-4-5",
    ]  # fmt: skip
    weights = policies["gpt-4o"].strategy.weights  # type: ignore[union-attr]
    assert weights == {"azure/gpt-4o-eu": 600, "openai-2/gpt-4o": 300, "anthropic/claude-sonnet-4-5": 0}
    assert policies["gpt-4o"].candidates[0].region == "eu"
    assert "context_length" in (tasks["gpt-4o"].fallback_on or [])
    assert [one.model for one in tasks["claude"].candidates] == ["claude-sonnet-4-5", "gpt-4o-eu", "gpt-4o"]
    assert tasks["claude"].defaults is not None
    assert (tasks["claude"].defaults.temperature, tasks["claude"].defaults.stop) == (0.2, ["END"])
    assert config.aliases == {
        "cheap/fast": "cheap-fast", "embed": "openai/text-embedding-3-small", "gpt-4": "gpt-4o",
    }  # fmt: skip
    assert config.prices["groq"]["llama-3.3-70b-versatile"].output == pytest.approx(0.79)
    assert config.models["groq"]["llama-3.3-70b-versatile"].context_window == 131072
    assert config.providers["anthropic"].drop_params is True  # type: ignore[union-attr]
    assert config.providers["ollama"].base_url == "http://localhost:11434/v1"  # type: ignore[union-attr]
    assert (config.retries.attempts, config.timeouts.total, config.cache.ttl_s) == (4, 120.0, 600.0)
    assert [key.name for key in config.keys] == ["master"]


def test_what_could_not_come_along_is_told_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    told = capsys.readouterr().out
    for line in (
        "model_list[1].litellm_params.timeout: deadlines are the gateway's",
        "model_list[5]: no entry is needed: clients may name any model as openai/MODEL",
        "model_list[6].litellm_params.model: there is no provider for 'replicate' here",
        "litellm_settings.success_callback: calls are recorded here",
        "router_settings.redis_host: set UNDERSTUDY_REDIS_URL",
        "general_settings.database_url: set UNDERSTUDY_DATABASE_URL",
        "environment_variables: set them in the environment",
    ):
        assert line in told


def test_no_secret_is_copied_or_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = run(tmp_path)
    shown = "".join(path.read_text() for path in folder.iterdir()) + capsys.readouterr().out
    assert not [secret for secret in SECRETS if secret in shown]
    assert written(folder, "gateway.yaml")["providers"]["openai-2"]["api_key"] == "${OPENAI_API_KEY_2}", (
        "the spelled-out key must not be taken for the variable that the file names elsewhere"
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("latency-based-routing", "least_latency"), ("cost-based-routing", "least_cost"), ("least-busy", None)],
)
def test_routing_strategies(theirs: str, ours: str | None) -> None:
    params = [{"model_name": "m", "litellm_params": {"model": f"openai/gpt-{n}"}} for n in (1, 2)]
    carried = from_litellm({"model_list": params, "router_settings": {"routing_strategy": theirs}})
    strategy = carried.routing["policies"][0]["strategy"]
    assert strategy == ours or strategy["type"] == "weighted"
    assert bool(carried.left) == (ours is None)


@pytest.mark.parametrize(
    "text", ["", "[]", "model_list: {}", "model_list: [", "a: !!python/object:os.system {}", "\x00", "model_list: 3"]
)
def test_a_file_that_is_no_configuration_is_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    status, folder = run(tmp_path, text)
    assert status == 1
    assert not folder.exists()
    assert "config.yaml: it " in capsys.readouterr().err


def test_junk_entries_are_told_and_do_no_harm() -> None:
    junk: list[Any] = [None, 3, {}, {"model_name": "x"}, {"model_name": "x", "litellm_params": {"model": "mystery"}}]
    good = {"model_name": "ok", "litellm_params": {"model": "gpt-4o"}}
    carried = from_litellm({"model_list": [*junk, good], "litellm_settings": [], "router_settings": {"fallbacks": 3}})
    assert [task["name"] for task in carried.routing["tasks"]] == ["ok"]
    assert len(carried.left) == len(junk)
    with pytest.raises(NotTheirs):
        from_litellm(["model_list"])


def test_a_folder_with_files_in_it_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "gateway.yaml").write_text("server: {}\n")
    status, folder = run(tmp_path)
    assert status == 1
    assert (folder / "gateway.yaml").read_text() == "server: {}\n"
    assert "not empty" in capsys.readouterr().err


def test_shares_headers_cache_prices_and_dropped_parameters_are_theirs() -> None:
    """Deployments are shared by the first measure that any of them has; a measure never stands beside another."""
    priced = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6, "cache_read_input_token_cost": 3e-7,
              "cache_creation_input_token_cost": 3.75e-6}  # fmt: skip
    headers = {"X-Team": "ml", "Authorization": "Bearer spelled-out"}
    deployments: list[dict[str, Any]] = [
        {"model": "anthropic/claude-a", "api_key": "os.environ/A", "rpm": 600, **priced},
        {"model": "deepseek/deepseek-chat", "api_key": "os.environ/B", "rpm": 60, "weight": 2, "drop_params": True},
        {"model": "openai/m", "api_base": "https://llm.example/v1", "api_key": "os.environ/C", "weight": 1, "extra_headers": headers},
    ]
    carried = from_litellm({"model_list": [{"model_name": "m", "litellm_params": one} for one in deployments]})
    assert carried.left == {} if isinstance(carried.left, dict) else not carried.left
    weights = carried.routing["policies"][0]["strategy"]["weights"]
    assert weights == {"anthropic/claude-a": 0, "deepseek/deepseek-chat": 2, "openai/m": 1}
    providers = carried.section("providers")
    assert providers["openai"]["headers"] == {"x-team": "ml", "authorization": "${OPENAI_AUTHORIZATION}"}
    assert "drop_params" not in providers["anthropic"] and providers["deepseek"]["drop_params"] is True
    price = carried.section("prices")["anthropic"]["claude-a"]
    assert price == pytest.approx({"input": 3.0, "output": 15.0, "cached_input": 0.3, "cache_write": 3.75})


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m"])
def test_a_word_for_no_key_is_no_key(model: str) -> None:
    """Else its provider would wait for a variable that nobody has to set."""
    asked = {"model": model, "api_base": "http://127.0.0.1:8000/v1", "api_key": "none"}
    carried = from_litellm({"model_list": [{"model_name": "m", "litellm_params": asked}]})
    (provider,) = carried.section("providers").values()
    assert "api_key" not in provider and not carried.variables


def test_vertex_comes_along_one_provider_for_each_publisher() -> None:
    where = {"vertex_project": "p", "vertex_location": "europe-west1"}
    spelled_out = {"type": "service_account", "private_key": "not-to-be-copied"}
    carried = from_litellm({"model_list": [
        {"model_name": "g", "litellm_params": {"model": "vertex_ai/gemini-2.5-pro", "vertex_credentials": "os.environ/KEY_FILE", **where}},
        {"model_name": "c", "litellm_params": {"model": "vertex_ai/claude-sonnet-4-5@20250929", **where}},
        {"model_name": "s", "litellm_params": {"model": "vertex_ai/gemini-2.5-flash", "vertex_credentials": spelled_out}},
    ]})  # fmt: skip
    providers = carried.gateway["providers"]
    named = {"type": "vertex", "region": "europe-west1", "project": "p"}
    assert providers["vertex-ai"] == {**named, "service_account": "${KEY_FILE}"}
    claude = {**named, "service_account": "${GOOGLE_APPLICATION_CREDENTIALS}", "publisher": "anthropic"}
    assert providers["vertex-ai-2"] == claude
    assert (providers["vertex-ai-3"]["region"], providers["vertex-ai-3"]["service_account"][:2]) == ("us-central1", "${")
    assert "not-to-be-copied" not in str(carried.gateway) and not carried.left


def deployment(name: str, info: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": params, "model_info": info or {}}


def test_a_credential_is_the_one_that_a_deployment_names() -> None:
    """Else it would go out with the vendor's usual key, which is another account's."""
    carried = from_litellm({
        "credential_list": [{"credential_name": "ours", "credential_values": {"api_key": "os.environ/OURS", "api_base": "https://ours.example/v1"}}],
        "model_list": [
            deployment("usual", model="openai/m", api_key="os.environ/OPENAI_API_KEY"),
            deployment("named", model="openai/m", litellm_credential_name="ours"),
            deployment("elsewhere", model="openai/m", litellm_credential_name="in the-database"),
        ],
    })  # fmt: skip
    providers = carried.section("providers")
    assert [one["api_key"] for one in providers.values()] == ["${OPENAI_API_KEY}", "${OURS}", "${IN_THE_DATABASE_API_KEY}"]
    assert providers["openai-2"]["base_url"] == "https://ours.example/v1"
    assert [str(one.why) for one in carried.left] == ["it is not in credential_list: set IN_THE_DATABASE_API_KEY"]


def test_the_lowest_order_is_shared_and_the_others_are_spare() -> None:
    carried = from_litellm({"model_list": [
        deployment("m", model="groq/late", order=2, rpm=100),
        deployment("m", model="openai/one", order=1, rpm=10),
        deployment("m", model="openai/two", order=1, rpm=30),
        deployment("m", model="mistral/never-said", weight=7),
    ]})  # fmt: skip
    (policy,) = carried.routing["policies"]
    assert [one["model"] for one in policy["candidates"]] == ["one", "two", "late", "never-said"]
    assert list(policy["strategy"]["weights"].values()) == [10, 30, 0, 0]
    assert not carried.left


def test_wildcards_keep_the_names_that_clients_send() -> None:
    """And fallbacks and aliases may lead through them."""
    carried = from_litellm({
        "model_list": [
            deployment("m", model="openai/m", api_key="os.environ/ANOTHER"),
            deployment("openai/*", model="openai/*", api_key="os.environ/OPENAI_API_KEY"),
            deployment("mine-*", model="groq/llama-*"),
        ],
        "litellm_settings": {"fallbacks": [{"m": ["openai/gpt-4o", "mine-3", "nobody"]}]},
        "router_settings": {"model_group_alias": {"best": "openai/gpt-5"}},
    })  # fmt: skip
    assert carried.section("providers")["openai"]["api_key"] == "${OPENAI_API_KEY}"
    candidates = carried.routing["tasks"][0]["candidates"]
    assert [f"{one['provider']}/{one['model']}" for one in candidates] == ["openai-2/m", "openai/gpt-4o", "groq/llama-3"]
    assert carried.routing["aliases"] == {"best": "openai/gpt-5"}
    assert [one.why for one in carried.left if "fallbacks" in one.where] == ["there is no model group 'nobody'"]


def test_a_fallback_of_its_own_kind_takes_none_of_the_usual_ones_away() -> None:
    carried = from_litellm({
        "model_list": [deployment("short", model="openai/m"), deployment("long", model="gemini/m")],
        "litellm_settings": {"context_window_fallbacks": [{"short": ["long"]}]},
    })  # fmt: skip
    assert carried.routing["tasks"][0]["fallback_on"] == [*FALLBACK, "context_length"]


def test_what_a_model_info_says_is_carried_or_told() -> None:
    info = {"id": "1", "mode": "chat", "access_groups": ["premium"], "base_model": "azure/gpt-4o", "supports_vision": True}
    azure = {"api_base": "https://x.example", "api_version": "os.environ/AZURE_API_VERSION"}
    carried = from_litellm({"model_list": [
        deployment("m", info, model="azure/ours", **azure),
        deployment("v", model="vertex_ai/gemini-2.5-pro", vertex_credentials="/secrets/google.json"),
    ]})  # fmt: skip
    assert {one.where.rsplit(".", 1)[1] for one in carried.left} == {"access_groups", "base_model", "supports_vision"}
    providers = carried.section("providers")
    assert providers["azure"]["api_version"] == "${AZURE_API_VERSION}"
    assert providers["vertex-ai"]["service_account"] == "/secrets/google.json", "a path is no secret"


def test_a_cache_that_nobody_asks_for_stays_off() -> None:
    model = deployment("m", model="openai/m")
    for params, enabled in (({"mode": "default_off"}, None), ({"type": "redis-semantic"}, True), ({}, True)):
        carried = from_litellm({"model_list": [model], "litellm_settings": {"cache": True, "cache_params": params}})
        assert carried.gateway.get("cache", {}).get("enabled") is enabled
        assert bool(carried.left) == bool(params)


def only(params: dict[str, Any], mode: str = "") -> tuple[dict[str, Any], str]:
    """The one provider of a deployment, and what the model is called there."""
    carried = from_litellm({"model_list": [{"model_name": "m", "litellm_params": params, "model_info": {"mode": mode}}]})
    (provider,) = carried.section("providers").values()
    return provider, carried.routing["tasks"][0]["candidates"][0]["model"]


@pytest.mark.parametrize(("theirs", "provider", "model"), [
    ("bedrock/converse/us.anthropic.claude-sonnet-4-20250514-v1:0", {"type": "bedrock"}, "us.anthropic.claude-sonnet-4-20250514-v1:0"),
    ("bedrock/us-gov-west-1/amazon.titan-text", {"type": "bedrock", "region": "us-gov-west-1"}, "amazon.titan-text"),
    ("bedrock/arn:aws:bedrock:us-east-1:1:inference-profile/p", {"type": "bedrock"}, "arn:aws:bedrock:us-east-1:1:inference-profile/p"),
    ("openai/responses/gpt-5-pro", {"type": "openai", "api": "responses"}, "gpt-5-pro"),
    ("azure/responses/gpt-5", {"type": "azure", "api": "responses"}, "gpt-5"),
    ("zai/glm-4.7", {"base_url": "https://api.z.ai/api/paas/v4", "api_key": "${ZAI_API_KEY}"}, "glm-4.7"),
    ("gemini-2.5-pro", {"type": "vertex"}, "gemini-2.5-pro"),
    ("deepseek-chat", {"profile": "deepseek"}, "deepseek-chat"),
])  # fmt: skip
def test_what_a_models_name_says_besides_the_model(theirs: str, provider: dict[str, Any], model: str) -> None:
    found, called = only({"model": theirs})
    assert found.items() >= provider.items() and called == model


def test_a_mode_of_responses_asks_that_api() -> None:
    assert only({"model": "openai/o3-pro"}, mode="responses")[0]["api"] == "responses"


@pytest.mark.parametrize(("params", "why"), [
    ({"model": "azure/", "api_base": "https://r.example"}, "'azure/' names no model"),
    ({"model": "os.environ/MODEL_NAME"}, "its name is in the variable MODEL_NAME"),
    ({"model": "litellm_proxy/gpt-4o"}, "a server of your own ('litellm_proxy') needs its address"),
    ({"model": "qwen3"}, "write VENDOR/qwen3"),
])  # fmt: skip
def test_a_deployment_that_cannot_be_asked_is_told_and_left_out(params: dict[str, Any], why: str) -> None:
    """One of them must not make the whole folder unusable."""
    carried = from_litellm({"model_list": [deployment("m", **params)]})
    assert why in str(carried.left) and not carried.routing.get("tasks")


def test_numbers_that_yaml_takes_for_texts_are_numbers() -> None:
    """``1e-6`` is a text to YAML 1.1, and LiteLLM's own reader does not mind."""
    said = yaml.safe_load("""
model_list:
  - model_name: m
    litellm_params: {model: openai/m, rpm: "480", input_cost_per_token: 1e-6, output_cost_per_token: 2e-6}
    model_info: {max_input_tokens: "131072"}
  - model_name: m
    litellm_params: {model: openai/n, rpm: 20, input_cost_per_token: 0, output_cost_per_token: 0.0}
  - model_name: odd
    litellm_params: {model: openai/o, input_cost_per_token: os.environ/PRICE, output_cost_per_token: 2e-6}
router_settings: {num_retries: "2", timeout: "30"}
""")
    carried = from_litellm(said)
    assert carried.gateway["prices"]["openai"] == {"m": {"input": 1.0, "output": 2.0}, "n": {"input": 0.0, "output": 0.0}}
    assert carried.routing["models"]["openai"]["m"] == {"context_window": 131072}
    assert carried.routing["policies"][0]["strategy"]["weights"] == {"openai/m": 480, "openai/n": 20}
    assert (carried.gateway["retries"], carried.gateway["timeouts"]) == ({"attempts": 3}, {"total": 30.0})
    assert "'os.environ/PRICE' is no number" in str(carried.left)


@pytest.mark.parametrize("fallbacks", [{"a": ["b"]}, {"a": "b"}, [{"a": "b"}]])
def test_fallbacks_as_people_write_them(fallbacks: Any) -> None:
    models = [deployment("a", model="openai/x"), deployment("b", model="openai/y")]
    carried = from_litellm({"model_list": models, "router_settings": {"fallbacks": fallbacks}})
    assert [one["model"] for one in carried.routing["tasks"][0]["candidates"]] == ["x", "y"]


def test_an_alias_of_several_groups_is_told() -> None:
    aliases = {"both": ["a", "b"], "one": {"model": "a", "hidden": True}}
    models = [deployment("a", model="openai/x"), deployment("b", model="openai/y")]
    carried = from_litellm({"model_list": models, "router_settings": {"model_group_alias": aliases}})
    assert carried.routing["aliases"] == {"one": "a"}
    assert "model_group_alias.both" in str(carried.left)


def test_a_master_key_that_nobody_may_use_here_is_told_and_not_carried() -> None:
    """``sk-1234`` stands in every example; the gateway would not start with it."""
    carried = from_litellm({"model_list": [], "general_settings": {"master_key": "sk-1234"}})
    assert "keys" not in carried.gateway and not carried.variables
    assert "too weak for a key here" in str(carried.left) and "sk-1234" not in str(carried.left)


def test_a_folder_is_judged_as_if_its_variables_were_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A service account and an address are no words, and the check would refuse any."""
    text = """
model_list:
  - {model_name: v, litellm_params: {model: vertex_ai/gemini-2.5-pro}}
  - {model_name: o, litellm_params: {model: ollama/llama3, api_base: os.environ/OLLAMA_URL}}
"""
    status, _ = run(tmp_path, text)
    assert status == 0, capsys.readouterr().out
