"""LiteLLM's ``credential_list``: keys and addresses that deployments name instead of spelling them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Credentials:
    def __init__(self, data: Mapping[str, Any]) -> None:
        listed = data.get("credential_list")
        self._values: dict[str, Mapping[str, Any]] = {}
        for entry in listed if isinstance(listed, list) else ():
            values = entry.get("credential_values") if isinstance(entry, Mapping) else None
            if isinstance(values, Mapping):
                self._values[str(entry.get("credential_name"))] = values

    def opened(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """``params`` with what its credential holds. One that is not in the file (LiteLLM may have it in its database)
        becomes a variable of its own: the vendor's usual key may be another account's."""
        name = params.get("litellm_credential_name")
        if not name:
            return params
        known = self._values.get(str(name))
        return {**({"api_key": f"os.environ/{_variable(str(name))}"} if known is None else known), **params}

    def missing(self, params: Mapping[str, Any]) -> str:
        """The variable that takes the place of a credential which is not in the file; "" when none has to."""
        name = str(params.get("litellm_credential_name") or "")
        return "" if not name or name in self._values or params.get("api_key") else _variable(name)


def _variable(name: str) -> str:
    return "".join(one if one.isascii() and one.isalnum() else "_" for one in name.upper()).strip("_") + "_API_KEY"
