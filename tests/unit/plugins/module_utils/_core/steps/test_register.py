# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions of a registration, without a server; tests/real uses a real one."""

from __future__ import annotations

import dataclasses
import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    JobError,
    NotReadyError,
    RemoteError,
    StoreError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import read_header
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import (
    modelfile,
    modelfile_blobs,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import (
    content_tag,
    move_tags,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import register
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.register import (
    RegisterStep,
    differences,
    format_for_file,
    plan,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json

FINGERPRINT = "0a1b2c3d4e5f" + "0" * 52
OLD, NEW = "a" * 64, "b" * 64


class ServerStandIn:
    """Stand-in for an Ollama server: names and digests."""

    url = "http://stand-in"

    def __init__(self, **models: str) -> None:
        self.models = {name.replace("__", ":"): digest for name, digest in models.items()}
        self.copies: list[tuple[str, str]] = []

    def tags(self) -> list[dict[str, t.Any]]:
        return [{"name": name, "digest": digest} for name, digest in self.models.items()]

    def copy(self, source: str, destination: str) -> None:
        self.copies.append((source, destination))
        self.models[destination] = self.models[source]


def as_ollama(server: ServerStandIn) -> Ollama:
    return t.cast(Ollama, server)


def write_gguf(path: Path, file_type: int = 15, eos: int | None = 2, add_bos: bool | None = None) -> None:
    def text(value: str) -> bytes:
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    entries = [
        text("general.file_type") + struct.pack("<II", 4, file_type),
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("gpt2"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("x") + text("<s>") + text("</s>"),
        text("tokenizer.ggml.bos_token_id") + struct.pack("<II", 4, 1),
    ]
    if eos is not None:
        entries.append(text("tokenizer.ggml.eos_token_id") + struct.pack("<II", 4, eos))
    if add_bos is not None:
        entries.append(text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", 7, add_bos))
    tensor = text("x") + struct.pack("<IQIQ", 1, 8, 0, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + tensor + bytes(64))


@pytest.fixture
def context(tmp_path: Path) -> t.Callable[..., StepContext]:
    def context(settings: dict[str, t.Any] | None = None, **options: t.Any) -> StepContext:
        layout = Layout(str(tmp_path))
        layout.create()
        os.makedirs(layout.artifact("gguf", NEW), exist_ok=True)
        write_gguf(Path(layout.artifact("gguf", NEW)) / "model.gguf")
        every = {"name": "m", "template": "qwen", "system": "Tu aides.", "parameters": {}, **(settings or {})}
        more = {"quantization": "q4_K_M", "aliases": ["latest"], **options}
        spec = StepSpec("register", FINGERPRINT, every, {"gguf": NEW}, more)
        return StepContext(layout, spec, Toolchain(), layout.work("register", FINGERPRINT), str(tmp_path))

    return context


def test_content_tag() -> None:
    assert content_tag("homelab-model", FINGERPRINT, "q4_K_M") == "homelab-model:0a1b2c3d4e5f-q4_K_M"
    assert content_tag("me/m", FINGERPRINT, "f16") == "me/m:0a1b2c3d4e5f-f16"
    for name in ("m:latest", "m odel", "", "é"):
        with pytest.raises(InputError):
            content_tag(name, FINGERPRINT, "q4_K_M")


def test_plan(context: t.Callable[..., StepContext]) -> None:
    wanted = plan(context({"parameters": {"temperature": "0.2", "stop": "Q:"}}, aliases=["latest", "stable"]))
    assert wanted.tag == "m:0a1b2c3d4e5f-q4_K_M"
    assert wanted.aliases == ("latest", "stable")
    assert (wanted.template, wanted.parser) == (served_format("qwen").template, "qwen3")
    assert wanted.parameters == {"temperature": 0.2, "stop": ["<|im_end|>", "Q:"]}
    assert (wanted.system, wanted.bos, wanted.warnings) == ("Tu aides.", "nobody", ())


def test_plan_without_thinking(context: t.Callable[..., StepContext]) -> None:
    on, off = ({"template": "qwen3", "enable_thinking": value} for value in (True, False))
    with_thoughts, without = plan(context(on)), plan(context(off))
    assert with_thoughts.template == served_format("qwen3").template
    assert without.template == served_format("qwen3", enable_thinking=False).template
    assert with_thoughts.template.endswith(
        "{{ if and .IsThinkSet (not .Think) }}<think>\n\n</think>\n\n{{ end }}{{ end }}"
    )
    assert without.template.endswith("{{ $tail }}<think>\n\n</think>\n\n{{ end }}")


def test_plan_with_a_default_system_prompt(context: t.Callable[..., StepContext]) -> None:
    wanted = plan(context({"default_system": "Tu es bref."}))
    assert wanted.template == served_format("qwen", default_system="Tu es bref.").template
    assert "Tu es bref." in wanted.template and "You are Qwen" not in wanted.template


@pytest.mark.parametrize(
    ("settings", "options", "error"),
    [
        ({"template": "qwenn"}, {}, InputError),
        ({"parameters": {"temperatur": 1}}, {}, InputError),
        ({"name": "a:b"}, {}, InputError),
        ({}, {"aliases": ["not a tag"]}, InputError),
        ({}, {"aliases": ["cloud"]}, InputError),
        ({}, {"quantization": "q8_0"}, StoreError),
    ],
)
def test_invalid_declaration_is_rejected_before_the_command(
    context: t.Callable[..., StepContext], settings: dict[str, t.Any], options: dict[str, t.Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        RegisterStep().command(context(settings, **options))


def test_missing_gguf_file(context: t.Callable[..., StepContext]) -> None:
    ctx = context()
    os.unlink(os.path.join(ctx.upstream_path("gguf"), "model.gguf"))
    with pytest.raises(NotReadyError):
        RegisterStep().command(ctx)


@pytest.mark.parametrize("name", ["q4_K", "q4_K_M"])
def test_short_name_of_a_type(context: t.Callable[..., StepContext], name: str) -> None:
    assert plan(context(quantization=name)).tag.endswith(name)


def test_origin_of_the_bos_token(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for template, add_bos, expected_origin in (
        ("mistral", True, "server"),
        ("mistral", False, "template"),
        ("qwen", False, "nobody"),
    ):
        write_gguf(path, add_bos=add_bos)
        served, origin, warnings = format_for_file({"template": template}, read_header(str(path)))
        assert (origin, warnings) == (expected_origin, [])
        assert ("<s>{{ $first := true }}" in served.template) == (origin == "template")
    write_gguf(path, add_bos=True)
    _served, origin, warnings = format_for_file({"template": "qwen"}, read_header(str(path)))
    assert origin == "server" and "<s> put before every prompt" in warnings[0].text


def test_missing_eos_token(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, eos=None)
    with pytest.raises(StoreError, match="names no EOS token"):
        format_for_file({"template": "mistral"}, read_header(str(path)))
    assert format_for_file({"template": "qwen"}, read_header(str(path)))[1] == "nobody"


def test_differences() -> None:
    shown = {"template": "T", "system": "S", "parameters": 'stop    "a"\ntop_k    40'}
    assert differences(shown, "T", "S", {"stop": ["a"], "top_k": 40}) == []
    assert differences(shown, "T ", "", {"stop": ["b"], "top_k": 40}) == ["template", "system prompt", "parameters"]
    assert differences({"template": "T"}, "T", "", {}) == []


def test_promote_moves_with_one_copy() -> None:
    server = ServerStandIn(m__new=NEW, m__old=OLD, m__latest=OLD)
    calls: list[t.Any] = []
    assert move_tags(
        as_ollama(server), "m:new", ["m:latest"], lambda *arguments: calls.append((*arguments, list(server.copies)))
    ) == ["m:latest"]
    assert server.copies == [("m:new", "m:latest")]
    assert calls == [("m:latest", {"digest": OLD, "tag": "m:old"}, [])], "recorded before anything was copied"
    assert move_tags(as_ollama(server), "m:NEW", ["M:LATEST"]) == []


def test_promote_keeps_a_model_without_another_tag() -> None:
    """The same model under another name belongs to another user and may be deleted at any time."""
    server = ServerStandIn(m__new=NEW, m__latest=OLD, m__stable=OLD, other__x=OLD)
    assert move_tags(as_ollama(server), "m:new", ["m:latest", "m:stable"]) == ["m:latest", "m:stable"]
    backup = f"m:before-{'a' * 12}"
    assert server.copies == [("m:latest", backup), ("m:new", "m:latest"), ("m:new", "m:stable")]
    assert server.models[backup] == OLD


def test_promote_a_missing_model() -> None:
    server = ServerStandIn(m__latest=OLD)
    with pytest.raises(RemoteError, match="m:new is not in Ollama"):
        move_tags(as_ollama(server), "m:new", ["m:latest"])
    assert server.models == {"m:latest": OLD}


def test_previous_target_of_an_alias_survives_a_kill(context: t.Callable[..., StepContext], tmp_path: Path) -> None:
    """The previous target is on disk before the alias is moved."""
    path = str(tmp_path / "registration.json")
    server = ServerStandIn(m__new=NEW, m__old=OLD, m__latest=OLD)
    server.copy = lambda *_names: (name for name in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        move_tags(as_ollama(server), "m:new", ["m:latest"], register._write_ahead(path, {"digest": NEW}))
    assert read_json(path)["previous"] == {"m:latest": {"digest": OLD, "tag": "m:old"}}


def test_progress(context: t.Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context()
    assert RegisterStep().progress(ctx) is None
    report = register._ProgressReport(ctx.progress_file)
    report.upload(10, 1000)
    first = RegisterStep().progress(ctx)
    assert first is not None and (first.current, first.total, first.unit, str(first.note)) == (
        10,
        1000,
        "B",
        "uploading",
    )
    report.upload(20, 1000)
    assert RegisterStep().progress(ctx) == first, "written at most twice a second"
    report.upload(1000, 1000)
    last = RegisterStep().progress(ctx)
    assert last is not None and last.current == 1000 and last.eta_seconds == 0


def test_drift_without_a_registration(context: t.Callable[..., StepContext]) -> None:
    assert [str(each) for each in RegisterStep().drift(context())] == ["it was never registered"]


def test_modelfile_of_a_model_with_an_encoder_of_pictures() -> None:
    text = modelfile("./model.gguf", "{{ .Prompt }}", "", {}, projector="./mmproj.gguf")
    assert text.splitlines()[:3] == ["FROM ./model.gguf", "FROM ./mmproj.gguf", ""]
    digests = ["sha256:" + letter * 64 for letter in "ab"]
    shown = "\n".join(f"FROM /models/blobs/{digest.replace(':', '-')}" for digest in digests)
    assert modelfile_blobs(shown) == {"FROM": digests}


class VisionStandIn(ServerStandIn):
    """Stand-in for a server that has one model of two files."""

    def __init__(self, registration: register.Registration, *capabilities: str) -> None:
        super().__init__(**{registration.tag.replace(":", "__"): NEW})
        self.shown = {
            "template": registration.template,
            "system": registration.system,
            "parameters": "\n".join(f'stop "{text}"' for text in registration.parameters["stop"]),
            "modelfile": "".join(f"FROM /models/blobs/sha256-{digest}\n" for digest in (OLD, NEW)),
            "capabilities": list(capabilities),
        }

    def digest(self, name: str) -> str:
        return self.models[name]

    def show(self, _name: str) -> dict[str, t.Any]:
        return self.shown

    def version(self) -> str:
        return "0.99.0"


def test_server_has_to_use_the_encoder(context: t.Callable[..., StepContext]) -> None:
    text = plan(context())
    seeing = dataclasses.replace(text, projector="mmproj.gguf")
    server = VisionStandIn(seeing, "completion", "vision")
    digest, stored = register._verify(as_ollama(server), seeing)
    assert digest == NEW and stored == {"FROM": [f"sha256:{each}" for each in (OLD, NEW)]}
    with pytest.raises(JobError, match="has another image encoder"):
        register._verify(as_ollama(server), text)
    server.shown["capabilities"] = ["completion"]
    with pytest.raises(JobError, match="Ollama 0.99.0 at http://stand-in has accepted the image encoder"):
        register._verify(as_ollama(server), seeing)
    server.shown["modelfile"] = f"FROM /models/blobs/sha256-{OLD}\n"
    with pytest.raises(JobError, match="has another image encoder"):
        register._verify(as_ollama(server), seeing)
