# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the adapter alone is what was trained, and the arguments that an image's LLaMA-Factory knows."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import image_arguments
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.adapter_export import (
    MERGE_ONLY_ARGUMENTS,
    check_exportable,
)

LISTED = {"arguments": {"optim": "str"}, "templates": ["qwen"], "version": "0.9.4"}


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_is_exportable(method: str) -> None:
    check_exportable("m", {"method": method, "extra": {"optim": "sgd", "use_dora": False, "add_tokens": None}})
    check_exportable("m", {"method": method})


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_a_method_without_an_adapter_is_refused(method: str) -> None:
    with pytest.raises(InputError, match=f"m: export: adapter needs an adapter, and the method {method} makes none"):
        check_exportable("m", {"method": method})


@pytest.mark.parametrize("argument", MERGE_ONLY_ARGUMENTS)
def test_arguments_that_change_more_than_the_adapter_are_refused(argument: str) -> None:
    with pytest.raises(InputError, match=rf"with extra\.{argument} the adapter alone is not the model") as caught:
        check_exportable("m", {"method": "lora", "extra": {argument: True}})
    assert caught.value.hint == "Declare export: merged."


class Engine:
    """Stand-in for the Docker engine with one image."""

    def __init__(self) -> None:
        self.id: str | None = "sha256:" + "a" * 64
        self.output_: bytes = json.dumps(LISTED).encode()
        self.queries: list[tuple[str, list[str], tuple[str, ...]]] = []

    def image(self, _name: str) -> dict[str, t.Any] | None:
        return {"Id": self.id} if self.id else None

    def output(self, image: str, argv: list[str], reads: t.Sequence[str] = ()) -> bytes:
        self.queries.append((image, argv, tuple(reads)))
        return self.output_


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(image_arguments, "DockerEngine", lambda _url: engine)
    return engine


@pytest.fixture
def ask(tmp_path: Path) -> t.Callable[..., t.Any]:
    layout = Layout(str(tmp_path))

    def ask(write: bool = True, **more: t.Any) -> t.Any:
        tools = dataclasses.replace(Toolchain(llamafactory_image="lf:1", image_path="/opt/bin"), **more)
        source = image_arguments.arguments_source(layout, tools, write)
        return source if isinstance(source, str) else source()

    return ask


def test_without_an_image_the_virtual_environment_is_asked(ask: t.Callable[..., t.Any], engine: Engine) -> None:
    assert ask(llamafactory_image="", llamafactory_venv="/opt/lf") == "/opt/lf"
    assert engine.queries == []


def test_an_image_is_asked_once(ask: t.Callable[..., t.Any], engine: Engine) -> None:
    first = ask()
    assert (first.arguments, first.templates, first.version) == ({"optim": "str"}, ("qwen",), "0.9.4")
    assert ask() == first and len(engine.queries) == 1
    image, argv, _reads = engine.queries[0]
    assert image == "lf:1" and argv[3] == "/opt/bin"
    engine.id = "sha256:" + "b" * 64
    assert ask() == first and len(engine.queries) == 2, "another image under the same name is another one"


def test_check_mode_writes_nothing(ask: t.Callable[..., t.Any], engine: Engine, tmp_path: Path) -> None:
    ask(write=False)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_asked_again(ask: t.Callable[..., t.Any], engine: Engine, tmp_path: Path) -> None:
    first = ask()
    (cached,) = (tmp_path / "cache" / "images").iterdir()
    cached.write_text("{")
    assert ask() == first and len(engine.queries) == 2
    assert json.loads(cached.read_text()) == LISTED


def test_a_missing_image_and_a_wrong_answer_are_errors(
    ask: t.Callable[..., t.Any], engine: Engine, tmp_path: Path
) -> None:
    engine.output_ = b"no such program"
    with pytest.raises(NotReadyError, match="arguments of the LLaMA-Factory in the image lf:1 cannot be read"):
        ask()
    assert list(tmp_path.iterdir()) == [], "an error is not remembered"
    engine.id = None
    with pytest.raises(NotReadyError, match="has no image 'lf:1'") as caught:
        ask()
    assert caught.value.hint == "Get it with 'docker pull lf:1'."
