"""The sentence encoder on a tiny BERT made on the spot, and a classifier that looks at it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from gateway.caching.vectors import Vectors
from gateway.local_models import encoder as encoders
from gateway.local_models.encoder import EncoderRefused
from optimizer.reuse.wording import wording
from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.artifacts.predictor import probabilities
from trainer.artifacts.registry import store
from trainer.recipes import CannotLearn, Example, train_first

SIZE, HEADS, LAYERS = 16, 2, 2
WORDS = [
    "[PAD]",
    "[UNK]",
    *["refund", "invoice", "charge", "parcel", "late", "box", "my", "is", "the", "where", "about"],
]
CONFIG = {
    "model_type": "bert",
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}


def tiny_bert(folder: Path) -> Path:
    """A random BERT of 16 dimensions with a word tokenizer."""
    tokenizers = pytest.importorskip("tokenizers")
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": random(len(WORDS), SIZE) * 4,
        "embeddings.position_embeddings.weight": random(32, SIZE) * 0.1,
        "embeddings.token_type_embeddings.weight": random(2, SIZE) * 0.1,
    }
    linear = {"attention.self.query": (SIZE, SIZE), "attention.self.key": (SIZE, SIZE),
              "attention.self.value": (SIZE, SIZE), "attention.output.dense": (SIZE, SIZE),
              "intermediate.dense": (32, SIZE), "output.dense": (SIZE, 32)}  # fmt: skip
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part, shape in linear.items():
            weights |= {f"{name}.{part}.weight": random(*shape), f"{name}.{part}.bias": random(shape[0])}
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for name in norms:
        weights |= {f"{name}.weight": np.ones(SIZE, np.float32), f"{name}.bias": np.zeros(SIZE, np.float32)}
    folder.mkdir()
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = tokenizers.models.WordLevel(
        {word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "bert")


def examples() -> list[Example]:
    rng = np.random.default_rng(1)
    kinds = {"billing": ["refund", "invoice", "charge"], "shipping": ["parcel", "late", "box"]}
    return [
        Example(
            f"{rng.choice(['my', 'the'])} {rng.choice(kinds[answer])} {rng.choice(['is', 'about'])}", answer
        )
        for answer in ["billing", "shipping"] * 60
    ]


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(folder) -> None:
    texts = ["my refund", "the parcel is late about my box", "zzz"]
    made = encoders.load(str(folder))
    together = made.embed(texts)
    assert together.shape == (3, SIZE)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([made.embed([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("features", ["auto", "embedding", "both"])
def test_a_student_with_an_encoder_answers_after_it_was_stored(folder, features, tmp_path) -> None:
    name, trained = train_first(
        "auto", examples(), seed=1, tick=lambda *_: None, encoder=str(folder), features=features
    )
    store(tmp_path / "s-v1", name, trained, "d" * 64, 1)
    again = load(tmp_path / "s-v1").parameters
    table = probabilities(again, ["my refund is", "the box about"])
    assert [trained.answers[column] for column in table.argmax(axis=1)] == ["billing", "shipping"]


def test_another_encoder_than_the_students_own_is_refused(folder, tmp_path) -> None:
    name, trained = train_first("auto", examples(), seed=1, tick=lambda *_: None, encoder=str(folder))
    store(tmp_path / "s-v1", name, trained, "d" * 64, 1)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"layer_norm_eps": 1e-5}))
    encoders.load.cache_clear()
    with pytest.raises(ArtifactRefused, match="not the one"):
        load(tmp_path / "s-v1")


def test_a_damaged_folder_is_refused_with_a_reason(folder) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04 not a model")
    encoders.load.cache_clear()
    with pytest.raises(EncoderRefused, match="cannot be read"):
        encoders.load(str(folder))


def test_embeddings_without_an_encoder_are_refused() -> None:
    with pytest.raises(CannotLearn, match="needs an encoder"):
        train_first("auto", examples(), seed=1, tick=lambda *_: None, features="embedding")


def test_a_folder_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(CannotLearn, match=r"needs a config\.json|needs the package tokenizers"):
        train_first("auto", examples(), seed=1, tick=lambda *_: None, encoder=str(tmp_path / "nothing"))


async def test_a_gateway_encodes_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.caching.vectors._PATIENCE_S", 120.0)  # the process that encodes starts meanwhile
    folder, vectors = str(tiny_bert(tmp_path / "bert")), Vectors()
    try:
        made = [await vectors.of(text, wording(text), folder) for text in ("my parcel is late", "my box is late")]
        expected = encoders.load(folder).embed(["my parcel is late", "my box is late"])
        for one, right in zip(made, expected, strict=True):
            assert one is not None
            assert np.allclose(one, right, atol=1e-6)
        assert await vectors.of("my box", wording("my box"), str(tmp_path / "nothing")) is None
        lexical = await vectors.of("my box", wording("my box"), None)
        assert lexical is not None
    finally:
        vectors.close()


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_a_name_of_the_hub_is_found_where_its_tools_keep_it(tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    inside = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    kept = tmp_path / inside / "models--owner--tiny"
    (kept / "refs").mkdir(parents=True)
    (kept / "snapshots").mkdir()
    (kept / "refs" / "main").write_text("0123abcd\n")
    tiny_bert(kept / "snapshots" / "0123abcd")
    encoders.load.cache_clear()
    assert encoders.load("owner/tiny").embed(["refund the invoice"]).shape == (1, SIZE)
    for missing in ("owner/other", "../../tiny", "owner"):
        with pytest.raises(EncoderRefused, match=r"needs a config\.json"):
            encoders.load(missing)
