from __future__ import annotations

from typing import Any

import msgspec
import pytest
from small_fakes import exchange_of, runtime_of, whole

from gateway.access.keys import digest_of, hint_of, new_key, well_formed
from gateway.client_data.batches import owner_of
from gateway.config import Config, YamlKey
from gateway.errors import Forbidden, GatewayError, NotFound, Unauthenticated, Unavailable
from gateway.stages.authenticate import Authenticate, authenticate, yaml_keys_of
from gateway.storage.values import Key

NOW = 1_000.0


def stored(text: str, **changes: Any) -> Key:
    key = Key(
        id="key_1", name="k", project="p1", digest=digest_of(text), hint=hint_of(text), scopes=("inference",),
        models=(), requests_per_minute=None, created_at=0.0, expires_at=None, revoked_at=None,
    )  # fmt: skip
    return msgspec.structs.replace(key, **changes)


def test_new_keys_are_distinct_typed_and_checked() -> None:
    one, two = new_key("inference"), new_key("inference")
    assert one.text != two.text and len(one.text) == 6 + 43 + 6
    assert well_formed(one.text) and well_formed(new_key("admin").text)
    assert one.digest == digest_of(one.text) and one.hint == f"sk-us-****{one.text[-4:]}"
    flipped = "b" if one.text[20] == "a" else "a"
    assert not well_formed(one.text[:20] + flipped + one.text[21:])
    assert not well_formed(one.text[:-1]) and not well_formed(one.text + "x") and not well_formed("")
    assert new_key("admin").text.startswith("ak-us-")


def test_a_stored_key_becomes_its_principal_under_each_header() -> None:
    key = new_key("inference")
    runtime = runtime_of(keys=[stored(key.text, requests_per_minute=7)])
    for headers in (
        {"authorization": f"Bearer {key.text}"},
        {"authorization": f"bearer  {key.text} "},
        {"api-key": key.text},
        {"x-api-key": key.text, "authorization": "Bearer "},
    ):
        found = authenticate(headers, runtime, {}, NOW, "inference")
        assert (found.key_id, found.project, found.requests_per_minute) == ("key_1", "p1", 7)


def refusal(headers: dict[str, str], keys: list[Key], scope: str = "inference") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        authenticate(headers, runtime_of(keys=keys), {}, NOW, scope)
    return caught.value


def test_refusals_say_why_and_never_echo_the_key() -> None:
    key = new_key("inference").text
    bearer = {"authorization": f"Bearer {key}"}
    cases = [
        (refusal(bearer, []), "Keys are made by"),
        (refusal(bearer, [stored(key, expires_at=999.0)]), "expired"),
        (refusal(bearer, [stored(key, revoked_at=1.0)]), "revoked"),
        (refusal({"authorization": f"Bearer {key[:-1]}"}, []), "mistyped"),
        (refusal({"authorization": "Bearer " + "x" * 10_000}, []), "longer"),
        (refusal({"authorization": f"Bearer {digest_of(key)}"}, [stored(key)]), "Incorrect"),
    ]
    for error, word in cases:
        assert isinstance(error, Unauthenticated) and error.status == 401 and error.code == "invalid_api_key"
        assert word in error.message
        assert key[10:-4] not in error.message
    assert f"sk-us-****{key[-4:]}" in cases[0][0].message
    for headers in ({}, {"authorization": ""}, {"authorization": "Basic abc"}):
        assert "didn't provide an API key" in refusal(headers, []).message


def test_a_revoked_key_stays_refused_when_the_clock_is_set_back() -> None:
    """Also for the lines of a batch that was made with it. An end that was agreed is the clock's to tell."""
    key = new_key("inference").text
    revoked, ending = stored(key, revoked_at=NOW + 3600), stored(key, expires_at=NOW + 3600)
    assert "revoked" in refusal({"authorization": f"Bearer {key}"}, [revoked]).message
    assert owner_of(runtime_of(keys=[revoked]), revoked.id, NOW) is None
    found = owner_of(runtime_of(keys=[ending]), ending.id, NOW)
    assert found is not None and found.key_id == ending.id
    assert owner_of(runtime_of(keys=[ending]), ending.id, NOW + 3600) is None
    assert owner_of(runtime_of(keys=[ending]), "key_other", NOW) is None


def test_admin_keys_and_missing_scopes_are_forbidden() -> None:
    admin = new_key("admin").text
    assert isinstance(refusal({"authorization": f"Bearer {admin}"}, [stored(admin)]), Forbidden)
    key = new_key("inference").text
    error = refusal({"authorization": f"Bearer {key}"}, [stored(key)], scope="train")
    assert isinstance(error, Forbidden) and "train" in error.message


async def test_the_stage_knows_yaml_keys_and_holds_them_to_their_models() -> None:
    config = Config(keys=[YamlKey(name="dev", key="any-text-of-16-characters", models=["a"])])
    runtime = runtime_of(config)
    stage = Authenticate()
    headers = {"authorization": "Bearer any-text-of-16-characters"}

    async def inner(exchange: Any) -> Any:
        return whole("ok")

    exchange = exchange_of(runtime, {"model": "a"}, headers=headers, principal=None)
    await stage(exchange, inner)
    assert exchange.principal == next(iter(yaml_keys_of(config).values()))
    with pytest.raises(NotFound) as caught:
        await stage(exchange_of(runtime, {"model": "b"}, headers=headers, principal=None), inner)
    assert caught.value.code == "model_not_found" and "`b`" in caught.value.message


def test_an_unknown_key_is_not_called_wrong_while_nobody_can_look_it_up() -> None:
    known, unknown = new_key("inference").text, new_key("inference").text
    runtime = runtime_of(keys=[stored(known)])

    def ask(text: str) -> Any:
        headers = {"authorization": f"Bearer {text}"}
        return authenticate(headers, runtime, {}, NOW, "inference", database_away=True)

    assert ask(known).key_id == "key_1"
    with pytest.raises(Unavailable) as caught:
        ask(unknown)
    assert caught.value.status == 503 and caught.value.headers["retry-after"] == "2"
    for wrong in (unknown[:-1], "anything-at-all"):  # never ours, whatever the database would say
        with pytest.raises(Unauthenticated):
            ask(wrong)


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "x-goog-api-key"])
def test_who_sends_no_bearer_key_is_known_again_too(header: str) -> None:
    """A new principal for each request made caches that know requests by their bytes learn each of them anew."""
    key, now = new_key("inference"), NOW
    stage = Authenticate(lambda: now)
    runtime = runtime_of(keys=[stored(key.text, expires_at=NOW + 10)])
    first = stage.who({header: key.text}, runtime)
    assert stage.who({header: f" {key.text} "}, runtime) is first
    now += 11
    with pytest.raises(Unauthenticated):
        stage.who({header: key.text}, runtime)
    for words in (key.text, f"\n{key.text}", "Bearer ", ""):  # no such word opens by itself what the header did
        with pytest.raises(Unauthenticated):
            stage.who({"authorization": words}, runtime)
    other = runtime_of(keys=[stored(key.text, project="p2")])
    assert stage.who({header: key.text}, other).project == "p2", "keys that were read anew"
