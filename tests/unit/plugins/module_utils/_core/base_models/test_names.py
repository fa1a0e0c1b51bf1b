# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of base models, the resolution of names, and the inspection of a model's files."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import model_files
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import (
    names as base_models_names,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.catalogue import (
    CATALOGUE,
    DEFAULT_TAGS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.entry import Entry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.llamafactory_models import (
    MODELS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.model_files import (
    HashCache,
    directory_digest,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import facts
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

#: The models whose shape the catalogue has.
SHAPED = [entry for entry in CATALOGUE if entry.shape]


def by_id(entry: Entry) -> str:
    return entry.hub_id


# -- the catalogue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", SHAPED, ids=by_id)
def test_parameters_follow_from_the_shape(entry: Entry) -> None:
    """The parameter count, known from the hub, must follow from the shape; this reveals a wrong digit in a shape."""
    assert entry.shape
    parameters = base_models_names.count_parameters(entry.shape)
    if entry.shape.model_type == "gemma3":
        # add SigLIP (27 layers of 1152, feed-forward 4304, 896/14 patches) and its projection
        vision = 4096 * 1152 + 1152 * (3 * 14 * 14 + 1) + 27 * (4 * 1152 * 1153 + 2 * 1152 * 4304 + 4304 + 5 * 1152)
        parameters += vision + 2 * 1152 + 1152 * entry.shape.hidden + 1152
    assert parameters == entry.shape.parameters


@pytest.mark.parametrize("entry", SHAPED, ids=by_id)
def test_size_in_the_name_matches_the_shape(entry: Entry) -> None:
    """The size in a model's name matches the size of its shape, within the precision of names."""
    match = re.search(r"([\d.]+)([bm])", entry.tags[0])
    assert match
    assert entry.shape
    named = float(match.group(1)) * (1e9 if match.group(2) == "b" else 1e6)
    assert 0.8 * named < entry.shape.parameters < 1.35 * named


def test_names_are_unique_and_defaults_exist() -> None:
    names = [f"{entry.family}:{tag}" for entry in CATALOGUE for tag in entry.tags]
    assert len(names) == len(set(names))
    assert len({entry.hub_id for entry in CATALOGUE}) == len(CATALOGUE)
    assert set(DEFAULT_TAGS) <= {entry.family for entry in CATALOGUE}
    assert {f"{family}:{tag}" for family, tag in DEFAULT_TAGS.items()} <= set(names)


#: Templates of the catalogue that LLaMA-Factory does not give to a model of this id, with the reason.
NOT_IN_CONSTANTS = {
    "meta-llama/Llama-3.1-8B-Instruct": "it has the former id, meta-llama/Meta-Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct": "it has the former id, meta-llama/Meta-Llama-3.1-70B-Instruct",
    "microsoft/Phi-3.5-mini-instruct": "registered with the template, which its name in lower case does not get",
    "microsoft/Phi-4-mini-instruct": "registered with the template, which its name in lower case does not get",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "its chat template is that of zephyr",
    "Qwen/Qwen3.6-27B": "0.9.5 has the template, and no model with it",
    "Qwen/Qwen3.6-35B-A3B": "0.9.5 has the template, and no model with it",
    "zai-org/GLM-4.7-Flash": "registered with the template, which its name does not get",
    **dict.fromkeys(
        (f"ibm-granite/granite-4.0-{size}" for size in ("350m", "1b", "micro", "h-micro", "h-tiny", "h-small")),
        "0.9.5 has the template, and only a preview with it",
    ),
}


@pytest.mark.parametrize("entry", CATALOGUE, ids=by_id)
def test_catalogue_agrees_with_llamafactory(entry: Entry) -> None:
    template, multimodal = MODELS.get(entry.hub_id, ("", False))
    assert entry.template in facts.names()
    if entry.hub_id in NOT_IN_CONSTANTS:
        assert not template, "remove it from NOT_IN_CONSTANTS"
    else:
        assert (entry.template, entry.takes_images) == (template, multimodal)


def test_catalogue_has_the_families_of_today() -> None:
    assert {"qwen3.5", "qwen3.6", "gemma4", "gpt-oss", "ministral-3", "granite4", "glm-4.7-flash"} <= set(
        base_models_names.families()
    )
    assert base_models_names.resolve("LiquidAI/LFM2.5-1.2B-Instruct").template == "lfm2"
    assert all(entry.model_type for entry in CATALOGUE)


def test_names_are_those_that_can_be_served() -> None:
    shown = base_models_names.catalogue_names()
    assert {"qwen3.5:4b", "gpt-oss:20b", "LiquidAI/LFM2.5-1.2B-Instruct"} <= set(shown)
    assert not any(name.startswith("gemma4") for name in shown)
    assert base_models_names.resolve("gemma4:31b").template == "gemma4"


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("qwen2.5:7b", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5:latest", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen2.5:7B", "Qwen/Qwen2.5-7B-Instruct"),
        (" qwen2.5:0.5b ", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("qwen2.5:7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5:7b-instruct-q4_K_M", "Qwen/Qwen2.5-7B-Instruct"),
        ("llama3.2", "meta-llama/Llama-3.2-3B-Instruct"),
        ("llama3.1:8b-instruct-fp16", "meta-llama/Llama-3.1-8B-Instruct"),
        ("mistral", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("gemma3:1b-it-qat", "google/gemma-3-1b-it"),
        ("qwen3:4b", "Qwen/Qwen3-4B"),
        ("qwen3:4b-instruct", "Qwen/Qwen3-4B-Instruct-2507"),
        ("qwen3:4b-instruct-2507-q8_0", "Qwen/Qwen3-4B-Instruct-2507"),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B"),
        ("tinyllama:1.1b-chat", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        ("library/phi4-mini", "microsoft/Phi-4-mini-instruct"),
        ("qwen/qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/", "Qwen/Qwen2.5-7B-Instruct"),
        ("hf.co/HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_names_that_resolve_to_a_model(name: str, hub_id: str) -> None:
    model = base_models_names.resolve(name)
    assert (model.kind, model.hub_id, model.template_source) == ("hub", hub_id, "catalogue")
    assert model.template
    assert model.shape
    assert model.ollama_name


def test_hub_id_that_llamafactory_names() -> None:
    model = base_models_names.resolve("meta-llama/meta-llama-3.1-8b-instruct")
    assert (model.hub_id, model.template, model.template_source) == (
        "meta-llama/meta-llama-3.1-8b-instruct", "llama3", "llamafactory",
    )  # fmt: skip
    assert model.shape is None
    base = base_models_names.resolve("Qwen/Qwen3-8B-Base")
    assert (base.template, base.template_source) == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "NousResearch/Hermes-3-Llama-3.1-8B",
        "unsloth/Meta-Llama-3.1-8B-Instruct",
        "someone/Qwen3-8B",
        "someone/qwen3_5-tuned",
        "someone/gpt_oss-tuned",
        "someone/Something",
    ],
)
def test_nothing_is_guessed_from_a_name(name: str) -> None:
    model = base_models_names.resolve(name)
    assert (model.template, model.template_source) == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qwen2.5:6b", "qwen2.5:7b"),
        ("qwen25:7b", "qwen2.5:7b"),
        ("lama3.1", "llama3.1:8b"),
        ("mistal", "mistral:7b"),
        ("", "qwen2.5:7b"),
        ("gemma4", "gemma4:e2b"),
        ("qwen3.5:5b", "qwen3.5:4b"),
        ("xyz", "organisation/name"),
        ("org/name/more", "organisation/name"),
        ("../x/y", "absolute"),
        ("~/models/x", "absolute"),
        ("TheBloke/Llama-2-7B-GGUF", "16-bit"),
        ("unsloth/Qwen2.5-7B-Instruct-bnb-4bit", "16-bit"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "16-bit"),
        ("/nowhere/at/all", "not a directory"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        base_models_names.resolve(name)
    assert message in str(caught.value)


# -- directories ---------------------------------------------------------------------------------------------------

CONFIG: dict[str, t.Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 700,
    "tie_word_embeddings": True,
}


def safetensors(shapes: dict[str, list[int]]) -> bytes:
    header: dict[str, t.Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        count = 4
        for dimension in shape:
            count *= dimension
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + count]}
        end += count
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(end)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "config.json").write_text(json.dumps(CONFIG))
    (root / "tokenizer_config.json").write_text(json.dumps({"chat_template": "<|im_start|>{{ role }}"}))
    (root / "tokenizer.model").write_bytes(b"pieces")
    (root / "README.md").write_text("not part of it")
    weights = {"model.embed_tokens.weight": [700, 128], "lm_head.weight": [700, 128], "model.norm.weight": [128]}
    (root / "model.safetensors").write_bytes(safetensors(weights))
    return root


def test_shape_of_a_directory(model_dir: Path) -> None:
    model = base_models_names.resolve(str(model_dir) + "/")
    assert (model.kind, model.path, model.chat) == ("dir", str(model_dir), True)
    assert model.shape == base_models_names.Shape("llama", 2, 128, 256, 4, 2, 32, 700, 700 * 128 + 128, True)


def _as_adapter(root: Path) -> None:
    (root / "model.safetensors").rename(root / "adapter_model.safetensors")
    (root / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "config.json").unlink(), "config.json"),
        (lambda root: (root / "config.json").write_text("{"), "not valid JSON"),
        (lambda root: (root / "config.json").write_text("[]"), "not a JSON object"),
        (lambda root: (root / "model.safetensors").unlink(), "no weights"),
        (
            lambda root: (root / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "incomplete",
        ),
        (lambda root: (root / "model.safetensors").write_bytes(b"\x10" + bytes(7)), "incomplete"),
        (lambda root: _cut(root / "model.safetensors"), "incomplete"),
        (lambda root: (root / "model.safetensors").rename(root / "model-00001-of-00002.safetensors"), "index"),
        (lambda root: (root / "model.safetensors").rename(root / "model.gguf"), "GGUF"),
        (_as_adapter, "adapter"),
        (lambda root: _index(root, {"a": "model.safetensors", "b": "model-2.safetensors"}), "model-2.safetensors"),
        (lambda root: _index(root, {"not.in.it": "model.safetensors"}), "not.in.it"),
    ],
)
def test_incomplete_directory_is_refused(model_dir: Path, spoil: t.Callable[[Path], object], message: str) -> None:
    spoil(model_dir)
    with pytest.raises(InputError) as caught:
        base_models_names.resolve(str(model_dir))
    assert message in str(caught.value)
    assert str(model_dir) in str(caught.value)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _index(root: Path, weight_map: dict[str, str]) -> None:
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_space_in_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="blank"):
        base_models_names.resolve(str(tmp_path / "a b"))


def test_shape_of_a_multimodal_model() -> None:
    text = {key: value for key, value in CONFIG.items() if key not in ("model_type", "tie_word_embeddings")}
    shape = model_files.shape_from_config({"model_type": "gemma3", "text_config": {**text, "head_dim": 64}})
    assert shape
    assert (shape.model_type, shape.head_dim, shape.tied) == ("gemma3", 64, True)
    assert model_files.shape_from_config({"model_type": "mamba"}) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 96}, (128, 8, 96, 0, 256)),
        ({"num_local_experts": 32, "num_experts_per_tok": 4}, (32, 4, 256, 0, 256)),
        (
            {"num_local_experts": 64, "num_experts_per_tok": 6, "shared_intermediate_size": 128},
            (64, 6, 256, 128, 256),
        ),
        (
            {"n_routed_experts": 64, "num_experts_per_tok": 4, "moe_intermediate_size": 96, "n_shared_experts": 2},
            (64, 4, 96, 192, 256),
        ),
        (
            {"num_experts": 16, "top_k_experts": 2, "moe_intermediate_size": 96, "intermediate_size": None},
            (16, 2, 96, 0, 96),
        ),
        ({"num_experts": None, "moe_intermediate_size": 96}, (0, 0, 0, 0, 256)),
    ],
)
def test_shape_of_a_mixture_of_experts(more: dict[str, t.Any], expected: tuple[int, ...]) -> None:
    shape = model_files.shape_from_config({**CONFIG, **more})
    assert shape
    experts = (shape.experts, shape.active_experts, shape.expert_intermediate, shape.shared_intermediate)
    assert (*experts, shape.intermediate) == expected


def test_chat_template_by_name() -> None:
    several = {"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}
    assert model_files.chat_template_of(several) == "b"
    assert model_files.chat_template_of({"chat_template": 3}) == ""


def test_jinja_file_takes_precedence(model_dir: Path) -> None:
    (model_dir / "chat_template.jinja").write_text("<|start_header_id|>")
    assert model_files.inspect_directory(str(model_dir)).chat_template == "<|start_header_id|>"


@pytest.mark.parametrize("name", ["Qwen3-8B", "Llama-3.1-8B-Instruct", "gpt_oss"])
def test_nothing_is_guessed_from_a_directory(model_dir: Path, name: str) -> None:
    root = model_dir.rename(model_dir.with_name(name))
    for text in ("<|start_header_id|>", "You are Qwen <|im_start|>", "<|end|>"):
        (root / "chat_template.jinja").write_text(text)
        model = base_models_names.resolve(str(root))
        assert (model.template, model.template_source) == ("", "")


def test_directory_without_chat(model_dir: Path) -> None:
    (model_dir / "tokenizer_config.json").unlink()
    assert base_models_names.resolve(str(model_dir)).chat is False


# -- digests -------------------------------------------------------------------------------------------------------


def test_digest_covers_the_files_a_loader_reads(model_dir: Path, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "data"))

    def now() -> str:
        return directory_digest(str(model_dir), HashCache(layout))

    first = now()
    (model_dir / "README.md").write_text("other words")
    (model_dir / "trainer_state.json").write_text("{}")
    (model_dir / ".cache").mkdir()
    assert now() == first
    (model_dir / "tokenizer.model").write_bytes(b"other!")
    second = now()
    assert second != first
    (model_dir / "tokenizer.model").rename(model_dir / "tokenizer2.model")
    assert now() not in (first, second)
    (model_dir / "tokenizer2.model").unlink()
    (model_dir / "tokenizer.model").write_bytes(b"pieces")
    assert now() == first
    assert not (tmp_path / "data").exists(), "a read-only operation has written a file"


def test_large_file_is_read_once(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(str(tmp_path / "data"))
    read: list[str] = []
    real = model_files.sha256_file
    monkeypatch.setattr(model_files, "sha256_file", lambda path: read.append(Path(path).name) or real(path))
    cache = HashCache(layout)
    first = directory_digest(str(model_dir), cache)
    assert "model.safetensors" in read
    cache.save()
    read.clear()
    assert directory_digest(str(model_dir), HashCache(layout)) == first
    assert read == []
    # other content under the same name and size: the cache entry is invalid
    (model_dir / "tokenizer.model").write_bytes(b"PIECES")
    assert directory_digest(str(model_dir), HashCache(layout)) != first
    assert read == ["tokenizer.model"]


def test_save_keeps_entries_of_other_processes(model_dir: Path, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "data"))
    one, two = HashCache(layout), HashCache(layout)
    one.sha256(str(model_dir / "config.json"))
    two.sha256(str(model_dir / "tokenizer.model"))
    one.save()
    two.save()
    entries = json.loads(Path(layout.path("cache", "hashes.json")).read_text())
    assert sorted(Path(path).name for path in entries) == ["config.json", "tokenizer.model"]
    (model_dir / "config.json").unlink()
    three = HashCache(layout)
    three.sha256(str(model_dir / "model.safetensors"))
    three.save()
    entries = json.loads(Path(layout.path("cache", "hashes.json")).read_text())
    assert sorted(Path(path).name for path in entries) == ["model.safetensors", "tokenizer.model"]


def test_shape_round_trips_through_json() -> None:
    shape = CATALOGUE[0].shape
    assert base_models_names.Shape(**json.loads(json.dumps(dataclasses.asdict(shape)))) == shape
