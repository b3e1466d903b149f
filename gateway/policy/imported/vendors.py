"""LiteLLM's names for vendors, as providers of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.policy.imported.carried import Carried

FROM_ENVIRONMENT = "os.environ/"
_SECRET = re.compile("auth|key|token|secret|cookie|password", re.IGNORECASE)
_NO_KEYS = frozenset({"none", "null", "empty", "dummy", "fake", "fake-key", "no-key", "na", "n/a", "-"})
"""What people write where LiteLLM demands a key for a server of their own that takes none."""
_NAMED = re.compile(r"[^A-Z0-9]+")


class Vendor(Struct, frozen=True):
    """``kind`` is our provider's type; a compatible vendor has a ``profile``. ``path`` is what LiteLLM adds to
    an ``api_base`` by itself, ``base`` where it asks when there is none. ``drops`` whether the codec knows
    ``drop_params``."""

    kind: str = "openai"
    profile: str = ""
    variable: str = ""
    path: str = ""
    drops: bool = False
    base: str = ""


VENDORS: Mapping[str, Vendor] = {
    "openai": Vendor(variable="OPENAI_API_KEY"),
    "custom_openai": Vendor(),
    "openai_like": Vendor(),
    "azure": Vendor("azure", variable="AZURE_API_KEY"),
    "anthropic": Vendor("anthropic", variable="ANTHROPIC_API_KEY", drops=True),
    "gemini": Vendor("gemini", variable="GEMINI_API_KEY", drops=True),
    "bedrock": Vendor("bedrock", drops=True),
    "vertex_ai": Vendor("vertex", drops=True),
    "vertex_ai_beta": Vendor("vertex", drops=True),
    "cohere": Vendor("cohere", variable="COHERE_API_KEY", drops=True),
    "cohere_chat": Vendor("cohere", variable="COHERE_API_KEY", drops=True),
    "groq": Vendor(profile="groq", variable="GROQ_API_KEY"),
    "together_ai": Vendor(profile="together", variable="TOGETHERAI_API_KEY"),
    "fireworks_ai": Vendor(profile="fireworks", variable="FIREWORKS_AI_API_KEY"),
    "deepseek": Vendor(profile="deepseek", variable="DEEPSEEK_API_KEY"),
    "xai": Vendor(profile="xai", variable="XAI_API_KEY"),
    "openrouter": Vendor(profile="openrouter", variable="OPENROUTER_API_KEY"),
    "mistral": Vendor(profile="mistral", variable="MISTRAL_API_KEY"),
    "perplexity": Vendor(profile="perplexity", variable="PERPLEXITYAI_API_KEY"),
    "cerebras": Vendor(profile="cerebras", variable="CEREBRAS_API_KEY"),
    "sambanova": Vendor(profile="sambanova", variable="SAMBANOVA_API_KEY"),
    "nvidia_nim": Vendor(profile="nvidia", variable="NVIDIA_NIM_API_KEY"),
    "hosted_vllm": Vendor(profile="vllm"),
    "lm_studio": Vendor(profile="lmstudio"),
    "ollama": Vendor(profile="ollama", path="/v1"),
    "ollama_chat": Vendor(profile="ollama", path="/v1"),
    "zai": Vendor(variable="ZAI_API_KEY", base="https://api.z.ai/api/paas/v4"),
    "moonshot": Vendor(variable="MOONSHOT_API_KEY", base="https://api.moonshot.ai/v1"),
    "deepinfra": Vendor(variable="DEEPINFRA_API_KEY", base="https://api.deepinfra.com/v1/openai"),
    "dashscope": Vendor(variable="DASHSCOPE_API_KEY", base="https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "litellm_proxy": Vendor(),
}
_ALONE = frozenset({"custom_openai", "openai_like", "litellm_proxy", "hosted_vllm"})
"""Who is nowhere unless an address says where."""

_BY_MODEL = (
    (re.compile(r"^(gpt-|o[1-9]|chatgpt-|text-embedding-|dall-e|whisper|tts-|omni-moderation)"), "openai"),
    (re.compile(r"^claude-"), "anthropic"),
    (re.compile(r"^command-"), "cohere"),
    (re.compile(r"^gemini-"), "vertex_ai"),
    (re.compile(r"^deepseek-"), "deepseek"),
)
_BEDROCK_WAY = re.compile(r"^(?:converse|converse_like|invoke)/")
_AWS_REGION = re.compile(r"^([a-z]{2}(?:-[a-z]+)+-\d)/")


class Named(Struct, frozen=True):
    """What a model's name says there: whose it is, what the vendor calls it, and how it is to be asked."""

    vendor: str
    model: str
    responses: bool = False
    region: str = ""


def named_of(params: Mapping[str, Any], mode: str = "") -> Named | None:
    """Who serves a deployment, by the name of its model and the ``mode`` of its ``model_info``; None when nothing
    tells who it is."""
    model = str(params.get("model") or "")
    said = params.get("custom_llm_provider")
    if said:
        vendor, model = str(said), model.removeprefix(f"{said}/")
    else:
        vendor, slash, rest = model.partition("/")
        if not slash:
            vendor = next((vendor for pattern, vendor in _BY_MODEL if pattern.match(model)), "")
        model = rest if slash else model
    if not vendor:
        return None
    if vendor == "bedrock":
        model = _BEDROCK_WAY.sub("", model)
        region = _AWS_REGION.match(model)
        return Named(vendor, _AWS_REGION.sub("", model), region=region[1] if region else "")
    if vendor in ("openai", "azure"):
        return Named(vendor, model.removeprefix("responses/"), mode == "responses" or model.startswith("responses/"))
    return Named(vendor, model)


def variables_named(data: Any) -> frozenset[str]:
    """Every environment variable that a configuration of theirs refers to."""
    if isinstance(data, Mapping):
        return frozenset().union(*map(variables_named, data.values()))
    if isinstance(data, list):
        return frozenset().union(*map(variables_named, data))
    if isinstance(data, str) and data.startswith(FROM_ENVIRONMENT):
        return frozenset({data.removeprefix(FROM_ENVIRONMENT)})
    return frozenset()


class Providers:
    """The providers that the deployments need: one for each vendor, address and key, named after the vendor.

    ``named_by_them``: the environment variables their file names; a secret it spells out is given another.
    """

    def __init__(self, carried: Carried, *, drop_params: bool, named_by_them: frozenset[str]) -> None:
        self._carried, self._drop, self._named_by_them = carried, drop_params, named_by_them
        self._names: dict[tuple[tuple[str, str], ...], str] = {}
        self._spelled_out: dict[str, str] = {}

    def named(self, named: Named, params: Mapping[str, Any], where: str) -> str | None:
        """The name of the provider that serves a deployment; None when we speak no such dialect."""
        vendor = named.vendor
        known = VENDORS.get(vendor)
        if known is None:
            self._carried.leave(f"{where}.model", f"there is no provider for '{vendor}' here")
            return None
        if vendor in _ALONE and not (params.get("api_base") or params.get("base_url")):
            self._carried.leave(f"{where}.api_base", f"a server of your own ('{vendor}') needs its address")
            return None
        settings = self._settings(vendor, known, params, where)
        if named.responses:
            settings["api"] = "responses"
        if named.region:
            settings.setdefault("region", named.region)
        if known.kind == "azure" and "base_url" not in settings:
            self._carried.leave(f"{where}.api_base", "an Azure deployment needs its resource's address")
            return None
        key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        if key not in self._names:
            self._names[key] = self._free(vendor.replace("_", "-"))
            self._carried.section("providers")[self._names[key]] = settings
        return self._names[key]

    def _free(self, vendor: str) -> str:
        taken = self._carried.section("providers")
        number, name = 1, vendor
        while name in taken:
            number += 1
            name = f"{vendor}-{number}"
        return name

    def _settings(self, vendor: str, known: Vendor, params: Mapping[str, Any], where: str) -> dict[str, Any]:
        settings: dict[str, Any] = {"type": known.kind}
        if known.profile:
            settings["profile"] = known.profile
        base = params.get("api_base") or params.get("base_url")
        if base:
            text = self.text(str(base), f"{vendor}_api_base", f"{where}.api_base", secret=False).rstrip("/")
            settings["base_url"] = text if not known.path or text.endswith(known.path) else text + known.path
        elif vendor == "azure":
            settings["base_url"] = self._variable("AZURE_API_BASE", "the address of the Azure resource")
        elif known.base:
            settings["base_url"] = known.base
        if known.kind == "bedrock":
            settings.update(self._aws(params, where))
        elif known.kind == "vertex":
            settings.update(self._vertex(params, where))
        elif base and known.kind == "openai" and str(params.get("api_key")).lower() in _NO_KEYS:
            pass
        elif params.get("api_key"):
            variable = known.variable or f"{vendor}_api_key"
            settings["api_key"] = self.text(str(params["api_key"]), variable, f"{where}.api_key", secret=True)
        elif known.variable:
            settings["api_key"] = self._variable(known.variable, f"the key of {vendor}")
        if params.get("api_version") and known.kind == "azure":
            version = str(params["api_version"])
            settings["api_version"] = self.text(version, "AZURE_API_VERSION", f"{where}.api_version", secret=False)
        if headers := self._headers(vendor, known, params, where):
            settings["headers"] = headers
        if (self._drop or params.get("drop_params") is True) and (known.drops or known.profile):
            settings["drop_params"] = True
        return settings

    def _headers(self, vendor: str, known: Vendor, params: Mapping[str, Any], where: str) -> dict[str, str]:
        found = {}
        if params.get("organization") and known.kind == "openai":
            value = self.text(str(params["organization"]), "OPENAI_ORGANIZATION", where, secret=False)
            found["openai-organization"] = value
        headers = params.get("extra_headers")
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            at, secret = f"{where}.extra_headers.{name}", _SECRET.search(str(name)) is not None
            found[str(name).lower()] = self.text(str(value), f"{vendor}_{name}", at, secret=secret)
        return found

    def _aws(self, params: Mapping[str, Any], where: str) -> dict[str, str]:
        found = {}
        for theirs, ours, variable in (
            ("aws_access_key_id", "access_key_id", "AWS_ACCESS_KEY_ID"),
            ("aws_secret_access_key", "secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            ("aws_session_token", "session_token", ""),
        ):
            if params.get(theirs):
                found[ours] = self.text(str(params[theirs]), theirs, f"{where}.{theirs}", secret=True)
            elif variable:
                found[ours] = self._variable(variable, f"Bedrock's {theirs.removeprefix('aws_')}")
        if params.get("aws_region_name"):
            region = str(params["aws_region_name"])
            found["region"] = self.text(region, "aws_region", f"{where}.aws_region_name", secret=False)
        return found

    def _vertex(self, params: Mapping[str, Any], where: str) -> dict[str, str]:
        """One provider for each publisher. A key file that LiteLLM finds by itself is found by the same variable."""
        found = {"region": "us-central1"}
        for theirs, ours in (("vertex_location", "region"), ("vertex_project", "project")):
            if params.get(theirs):
                found[ours] = self.text(str(params[theirs]), theirs, f"{where}.{theirs}", secret=False)
        account = params.get("vertex_credentials")
        if account:
            name, at = "vertex_service_account", f"{where}.vertex_credentials"
            told = account if isinstance(account, str) else json.dumps(account)
            spelled_out = told.lstrip().startswith("{")  # else it is the path of a file
            found["service_account"] = self.text(told, name, at, secret=spelled_out)
        else:
            variable = "GOOGLE_APPLICATION_CREDENTIALS"
            found["service_account"] = self._variable(variable, "the path of the service account's key file")
        if "claude" in str(params.get("model")):
            found["publisher"] = "anthropic"
        return found

    def text(self, value: str, name: str, where: str, *, secret: bool) -> str:
        """A value of theirs as YAML of ours: their variables stay variables, spelt-out secrets become some."""
        if value.startswith(FROM_ENVIRONMENT):
            return self._variable(value.removeprefix(FROM_ENVIRONMENT), f"as before ({where})")
        if not secret:
            return value
        if value not in self._spelled_out:
            variable = base = _NAMED.sub("_", name.upper()).strip("_")
            number = 1
            while variable in self._carried.variables or variable in self._named_by_them:
                number += 1
                variable = f"{base}_{number}"
            self._spelled_out[value] = variable
        return self._variable(self._spelled_out[value], f"what {where} spells out")

    def _variable(self, name: str, stands_for: str) -> str:
        self._carried.variables.setdefault(name, stands_for)
        return f"${{{name}}}"
