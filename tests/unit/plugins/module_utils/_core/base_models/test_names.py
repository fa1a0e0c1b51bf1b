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
    Entry,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.model_files import (
    HashCache,
    directory_digest,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError


def by_id(entry: Entry) -> str:
    return entry.hub_id


# -- the catalogue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", CATALOGUE, ids=by_id)
def test_parameters_follow_from_the_shape(entry: Entry) -> None:
    """The parameter count, known from the hub, must follow from the shape; this reveals a wrong digit in a shape."""
    parameters = base_models_names.count_parameters(entry.shape)
    if entry.shape.model_type == "gemma3":
        # add SigLIP (27 layers of 1152, feed-forward 4304, 896/14 patches) and its projection
        vision = 4096 * 1152 + 1152 * (3 * 14 * 14 + 1) + 27 * (4 * 1152 * 1153 + 2 * 1152 * 4304 + 4304 + 5 * 1152)
        parameters += vision + 2 * 1152 + 1152 * entry.shape.hidden + 1152
    assert parameters == entry.shape.parameters


@pytest.mark.parametrize("entry", CATALOGUE, ids=by_id)
def test_size_in_the_name_matches_the_shape(entry: Entry) -> None:
    """The size in a model's name matches the size of its shape, within the precision of names."""
    match = re.search(r"([\d.]+)([bm])", entry.tags[0])
    assert match
    named = float(match.group(1)) * (1e9 if match.group(2) == "b" else 1e6)
    assert 0.8 * named < entry.shape.parameters < 1.35 * named


def test_names_are_unique_and_defaults_exist() -> None:
    names = [f"{entry.family}:{tag}" for entry in CATALOGUE for tag in entry.tags]
    assert len(names) == len(set(names))
    assert len({entry.hub_id for entry in CATALOGUE}) == len(CATALOGUE)
    assert {entry.family for entry in CATALOGUE} == set(DEFAULT_TAGS)
    assert {f"{family}:{tag}" for family, tag in DEFAULT_TAGS.items()} <= set(names)


@pytest.mark.parametrize("entry", CATALOGUE, ids=by_id)
def test_hub_id_implies_the_template(entry: Entry) -> None:
    """The template derived from a name matches the catalogue, so that copies under another organisation work too."""
    copied = "someone/" + entry.hub_id.partition("/")[2]
    assert base_models_names.family_template(copied) == entry.template


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


def test_hub_id_outside_the_catalogue() -> None:
    model = base_models_names.resolve("NousResearch/Hermes-3-Llama-3.1-8B")
    assert (model.hub_id, model.template, model.template_source) == (
        "NousResearch/Hermes-3-Llama-3.1-8B", "llama3", "name",
    )  # fmt: skip
    assert model.shape is None
    assert base_models_names.resolve("someone/Something").template == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qwen2.5:6b", "qwen2.5:7b"),
        ("qwen25:7b", "qwen2.5:7b"),
        ("lama3.1", "llama3.1:8b"),
        ("mistal", "mistral:7b"),
        ("", "qwen2.5:7b"),
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


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct", "llama3"),
        ("bartowski/Llama-3.3-70B", "llama3"),
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", ""),
        ("meta-llama/Llama-2-7b-chat-hf", ""),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", ""),
        ("Qwen/Qwen2-7B-Instruct", "qwen"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", ""),
        ("Qwen/Qwen3-8B-Base", "qwen3"),
        ("Qwen/Qwen3.5-4B", ""),
        ("google/gemma-2b-it", ""),
        ("google/gemma-3n-E2B-it", ""),
        ("microsoft/Phi-3-mini-4k-instruct", "phi"),
        ("microsoft/Phi-4-multimodal-instruct", ""),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral"),
    ],
)
def test_family_template(name: str, template: str) -> None:
    assert base_models_names.family_template(name) == template


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


def test_shape_and_template_of_a_directory(model_dir: Path) -> None:
    model = base_models_names.resolve(str(model_dir) + "/")
    assert (model.kind, model.path, model.template, model.template_source) == ("dir", str(model_dir), "chatml", "files")
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


#: The beginnings and the characteristic parts of real chat templates.
TEMPLATES = [
    ("qwen2", "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud.", "qwen"),
    ("qwen3", "{%- if enable_thinking %}{{- '<think>\\n\\n</think>' }}<|im_start|>", "qwen3"),
    ("qwen3", "{{- '<|im_start|>' + message.role }}", "qwen3_nothink"),
    (
        "llama",
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face",
        "smollm2",
    ),
    ("llama", "{{'<|im_start|>' + message['role'] + '\n'}}", "chatml"),
    ("phi3", "{{ '<|im_start|>' + 'user' + '<|im_sep|>' }}", "phi4"),
    ("phi3", "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}", "phi"),
    ("phi3", "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}", "phi4_mini"),
    ("llama", "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}", "llama3"),
    ("gemma2", "{{ '<start_of_turn>' + role + '\n' }}", "gemma2"),
    ("gemma3_text", "{{ '<start_of_turn>' + role + '\n' }}", "gemma2"),
    ("gemma3", "{{ '<start_of_turn>' + role + '\n' }}", "gemma3"),
    ("gemma", "{{ '<start_of_turn>' + role + '\n' }}", "gemma"),
    ("qwen2", "{{'<｜User｜>' + message['content']}}{{'<think>\\n'}}", "deepseekr1"),
    ("deepseek_v3", "{{'<｜User｜>' + message['content']}}", "deepseek3"),
    ("mistral", "{{ '[SYSTEM_PROMPT]' }}{{ '[INST]' }}", "mistral_small"),
    ("mistral", "{{ '[INST] ' + message['content'] + '[/INST]' }}", "mistral"),
    ("mistral", "{{ '[INST]' + message['content'] + '[/INST]' }}", "ministral"),
    ("llama", "{{ '[INST] <<SYS>>' }}", "llama2"),
    ("llama", "{{ '<|user|>\n' + message['content'] + eos_token }}", "zephyr"),
    ("falcon", "{{ 'User: ' + message['content'] }}", ""),
    ("qwen2", "", "qwen"),
    ("llama", "", ""),
]


@pytest.mark.parametrize(("model_type", "text", "template"), TEMPLATES)
def test_template_from_the_chat_template(model_type: str, text: str, template: str) -> None:
    derived, reason = model_files.derive_template(model_type, text)
    assert derived == template
    assert reason


def test_chat_template_by_name() -> None:
    several = {"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}
    assert model_files.chat_template_of(several) == "b"
    assert model_files.chat_template_of({"chat_template": 3}) == ""


def test_jinja_file_takes_precedence(model_dir: Path) -> None:
    (model_dir / "chat_template.jinja").write_text("<|start_header_id|>")
    assert base_models_names.resolve(str(model_dir)).template == "llama3"


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
