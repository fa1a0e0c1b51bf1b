# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolution of a base model and errors of the hub, against a fake hub over real HTTP."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import RECEIPT, Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import (
    names as base_models_names,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import resolution
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.hub_client import (
    HubClient,
    TransientError,
    read_token,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    NotReadyError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Store
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_lab import (
    CONFIG,
    FILES,
    QWEN,
    TOKEN,
    WANTED,
    env,
    everything,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn, Repository


def resolve(layout: Layout, hub: HubStandIn, name: str = QWEN, **more: t.Any) -> resolution.BaseIdentity:
    return resolution.resolve_base(layout, base_models_names.resolve(name), environment=env(hub), **more)


# -- resolution ----------------------------------------------------------------------------------------------------


def test_name_is_resolved_to_a_commit_once(layout: Layout, hub: HubStandIn) -> None:
    first = resolve(layout, hub, "qwen2.5:0.5b")
    commit = hub.repositories[QWEN].commit
    assert first.settings == {"hub": QWEN, "commit": commit}
    assert first.fingerprint == fingerprint("base", {"hub": QWEN, "commit": commit}, {})
    assert (first.template, first.source, first.location, first.gated) == ("qwen", "hub", None, False)
    assert first.bytes == sum(len(FILES[name]) for name in WANTED)
    assert first.options["shape"]["parameters"] == 494032768
    # the hub has a newer commit: the record applies, and the hub is not queried
    hub.add(QWEN, {**FILES, "config.json": b"{}"})
    requests = len(hub.seen)
    second = resolve(layout, hub, "qwen2.5:0.5b")
    assert (second.settings, second.source) == (first.settings, "recorded")
    assert second.options == first.options
    assert len(hub.seen) == requests
    # another revision is resolved separately
    third = resolve(layout, hub, "qwen2.5:0.5b", revision=hub.repositories[QWEN].commit)
    assert third.settings["commit"] == hub.repositories[QWEN].commit != commit
    assert resolve(layout, hub, "qwen2.5:0.5b").settings == first.settings


def test_check_mode_writes_nothing(layout: Layout, hub: HubStandIn) -> None:
    identity = resolve(layout, hub, write=False)
    assert identity.settings["commit"] == hub.repositories[QWEN].commit
    assert not os.path.exists(layout.root)


def test_offline(layout: Layout, hub: HubStandIn) -> None:
    with pytest.raises(NotReadyError, match="never been resolved"):
        resolve(layout, hub, offline=True)
    with pytest.raises(NotReadyError, match="never been resolved"):
        resolution.resolve_base(
            layout, base_models_names.resolve(QWEN), environment={**env(hub), "HF_HUB_OFFLINE": "1"}
        )
    commit = hub.repositories[QWEN].commit
    pinned = resolve(layout, hub, revision=commit, offline=True)
    assert (pinned.settings, pinned.source) == ({"hub": QWEN, "commit": commit}, "revision")
    resolve(layout, hub)
    hub.close()
    assert resolve(layout, hub).settings == pinned.settings
    assert resolve(layout, hub, offline=True).settings == pinned.settings


def test_concurrent_resolutions_agree(layout: Layout, hub: HubStandIn) -> None:
    """The hub changes while several threads resolve: all use the commit that was recorded first."""
    commits: list[str] = []
    start = threading.Barrier(6)

    def one(number: int) -> None:
        start.wait()
        hub.add(QWEN, {**FILES, "config.json": json.dumps({**CONFIG, "n": number}).encode()})
        commits.append(resolve(layout, hub).settings["commit"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(commits) == 6
    assert len(set(commits)) == 1


def test_model_outside_the_catalogue_is_inspected(layout: Layout, hub: HubStandIn) -> None:
    hub.add("someone/Own-Model", FILES)
    identity = resolve(layout, hub, "someone/Own-Model")
    assert (identity.template, identity.template_source, identity.chat) == ("", "", True)
    assert identity.shape == base_models_names.Shape(
        "llama", 1, 64, 128, 2, 2, 32, 100, identity.shape.parameters, False
    )  # type: ignore[union-attr]
    assert identity.chat_template("llama3") == "llama3"
    requests = len(hub.seen)
    assert resolve(layout, hub, "someone/Own-Model") == dataclasses.replace(identity, source="recorded")
    assert len(hub.seen) == requests


def test_unknown_family_is_refused_with_the_list(layout: Layout, hub: HubStandIn) -> None:
    # neither the name nor the marks in the chat template decide
    hub.add("someone/Llama-3.1-Tuned", FILES)
    with pytest.raises(InputError, match="neither in the catalogue nor among the models") as caught:
        resolve(layout, hub, "someone/Llama-3.1-Tuned").chat_template()
    assert "qwen2.5, qwen2.5-coder, qwen3" in caught.value.hint and "Declare template" in caught.value.hint
    assert "chatml" in caught.value.hint
    hub.add("someone/Bare", {name: FILES[name] for name in WANTED - {"tokenizer_config.json"}})
    with pytest.raises(InputError, match="it is a base without chat"):
        resolve(layout, hub, "someone/Bare").chat_template()


def test_model_of_llamafactory_has_its_template_and_the_shape_of_its_files(layout: Layout, hub: HubStandIn) -> None:
    name = "meta-llama/Meta-Llama-3.1-8B-Instruct"
    hub.add(name, FILES)
    identity = resolve(layout, hub, name)
    assert (identity.template, identity.template_source) == ("llama3", "llamafactory")
    assert identity.shape and identity.shape.layers == 1


def earlier_base(layout: Layout, fingerprint: str, template: str, source: str) -> None:
    """Write the receipt of a base as an earlier version did."""
    path = layout.artifact("base", fingerprint)
    os.makedirs(path, exist_ok=True)
    results = {"template": template, "template_source": source}
    write_json(os.path.join(path, RECEIPT), {"fingerprint": fingerprint, "kind": "base", "results": results})


def earlier_training(layout: Layout, base: str, template: str) -> None:
    path = layout.artifact("train", "e" * 64)
    os.makedirs(path, exist_ok=True)
    options = {"resolved": {"template": template}}
    receipt = {"fingerprint": "e" * 64, "kind": "train", "upstream": {"base": base}, "options": options}
    write_json(os.path.join(path, RECEIPT), receipt)


@pytest.mark.parametrize("source", ["files", "name"])
def test_template_that_an_earlier_version_trained_with_is_kept(layout: Layout, hub: HubStandIn, source: str) -> None:
    hub.add("someone/Tuned", FILES)
    base = resolve(layout, hub, "someone/Tuned").fingerprint
    earlier_base(layout, base, "chatml", source)
    assert resolve(layout, hub, "someone/Tuned").template == "", "nothing was trained with it"
    earlier_training(layout, base, "llama3")
    os.makedirs(layout.work("train", "d" * 64))  # an interrupted training
    assert resolve(layout, hub, "someone/Tuned").template == ""
    earlier_training(layout, base, "chatml")
    kept = resolve(layout, hub, "someone/Tuned")
    assert (kept.template, kept.template_source) == ("chatml", resolution.EARLIER)
    assert kept.chat_template("qwen") == "qwen"


def test_template_of_a_run_that_an_earlier_version_queued_is_kept(layout: Layout, hub: HubStandIn) -> None:
    hub.add("someone/Tuned", FILES)
    base = resolve(layout, hub, "someone/Tuned")
    layout.create()
    store = Store(layout)
    store.prepare()
    options = {**base.options, "template": "chatml", "template_source": "files"}
    steps = [make_step("base", base.settings, {}, options)]
    store.enqueue(make_run("mine", steps, ["base"], Toolchain()))
    kept = resolve(layout, hub, "someone/Tuned")
    assert (kept.template, kept.template_source) == ("chatml", resolution.EARLIER)


def test_template_of_a_directory_that_an_earlier_version_trained_is_kept(tmp_path: Path, layout: Layout) -> None:
    root = tmp_path / "model"
    root.mkdir()
    (root / "config.json").write_bytes(FILES["config.json"])
    (root / "pytorch_model.bin").write_bytes(b"weights")
    base = resolution.resolve_base(layout, base_models_names.resolve(str(root)))
    assert (base.template, base.chat) == ("", False)
    earlier_base(layout, base.fingerprint, "qwen", "files")
    earlier_training(layout, base.fingerprint, "qwen")
    kept = resolution.resolve_base(layout, base_models_names.resolve(str(root)))
    assert (kept.template, kept.template_source) == ("qwen", resolution.EARLIER)


def test_renamed_model_has_one_identity(layout: Layout, hub: HubStandIn) -> None:
    hub.renamed["old/Name"] = "new/Name"
    hub.add("new/Name", FILES)
    assert resolve(layout, hub, "old/Name").settings == resolve(layout, hub, "new/Name").settings


def test_directory_is_identified_by_its_content(tmp_path: Path, layout: Layout) -> None:
    root = tmp_path / "model"
    root.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (root / name).write_bytes(FILES[name])
    (root / "pytorch_model.bin").write_bytes(b"weights")
    identity = resolution.resolve_base(layout, base_models_names.resolve(str(root)), write=False)
    assert not os.path.exists(layout.root)
    assert list(identity.settings) == ["directory"]
    assert (identity.location, identity.template, identity.source) == (str(root), "", "directory")
    root.rename(tmp_path / "moved")
    moved = resolution.resolve_base(layout, base_models_names.resolve(str(tmp_path / "moved")))
    assert moved.fingerprint == identity.fingerprint
    assert os.path.exists(layout.path("cache", "hashes.json"))
    (tmp_path / "moved" / "pytorch_model.bin").write_bytes(b"WEIGHTS")
    assert (
        resolution.resolve_base(layout, base_models_names.resolve(str(tmp_path / "moved"))).fingerprint
        != identity.fingerprint
    )


# -- selection of files --------------------------------------------------------------------------------------------


def selected(files: t.Iterable[str], code: bool = False) -> set[str]:
    offered = [resolution.HubFile(name, 1) for name in files]
    return {file.name for file in resolution.select_files(offered, "a/b", code)}


def test_only_files_for_training_are_selected() -> None:
    assert selected(FILES) == WANTED
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    bins = {"pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"}
    assert selected(shards | bins | {"config.json", "consolidated.safetensors.index.json"}) == shards | {"config.json"}
    assert selected(bins | {"config.json", "tekken.json"}) == bins | {"config.json", "tekken.json"}
    both = shards | {"model.safetensors", "config.json", "tokenizer.model", "modeling_x.py", "merges.txt"}
    assert selected(both) == {"model.safetensors", "config.json", "tokenizer.model", "merges.txt"}


def test_code_is_selected_only_where_it_is_wanted() -> None:
    files = {"model.safetensors", "config.json"}
    code = {"modeling_x.py", "tokenization_x.py"}
    elsewhere = {".hidden.py", "scripts/train.py", "setup.cfg"}
    assert selected(files | code | elsewhere) == files
    assert selected(files | code | elsewhere, code=True) == files | code
    assert resolution.code_files([resolution.HubFile(name, 1) for name in code | elsewhere | files]) == sorted(code)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json"}, "no weights"),
        ({"config.json", "x.gguf"}, "GGUF"),
        ({"adapter_model.safetensors", "adapter_config.json"}, "adapter"),
        ({"model.safetensors"}, "config.json"),
    ],
)
def test_repositories_that_cannot_be_trained(files: set[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        selected(files)
    assert message in str(caught.value)


# -- errors of the hub ---------------------------------------------------------------------------------------------


def test_unknown_model(layout: Layout, hub: HubStandIn) -> None:
    with pytest.raises(InputError) as caught:
        resolve(layout, hub, "Qwen/Qwen2.5-9B-Instruct")
    assert "Qwen/Qwen2.5-7B-Instruct" in caught.value.hint
    assert "token_file" in caught.value.hint
    with pytest.raises(InputError, match="no revision 'nonesuch'"):
        resolve(layout, hub, revision="nonesuch")
    assert not os.path.exists(layout.path("models", "base", "resolved.json"))


def gate(hub: HubStandIn, **more: t.Any) -> Repository:
    return hub.add("meta-llama/Llama-3.2-1B-Instruct", FILES, gated=True, **more)


def test_gated_without_a_token(layout: Layout, hub: HubStandIn) -> None:
    gate(hub)
    with pytest.raises(InputError) as caught:
        resolve(layout, hub, "llama3.2:1b")
    assert "gated" in caught.value.message
    assert f"{hub.url}/meta-llama/Llama-3.2-1B-Instruct" in caught.value.hint
    assert f"{hub.url}/settings/tokens" in caught.value.hint
    assert "token_file" in caught.value.hint
    assert hub.total_sent() == 0


def test_gated_with_a_token_without_access(layout: Layout, hub: HubStandIn, token_file: str) -> None:
    gate(hub)
    hub.tokens.add(TOKEN)
    with pytest.raises(InputError, match="not been given access") as caught:
        resolve(layout, hub, "llama3.2:1b", token_file=token_file)
    assert TOKEN not in f"{caught.value}{caught.value.details}"


def test_gated_with_access(layout: Layout, hub: HubStandIn, token_file: str) -> None:
    gate(hub, readers={TOKEN})
    identity = resolve(layout, hub, "llama3.2:1b", token_file=token_file)
    assert identity.gated
    assert TOKEN in {request.token for request in hub.seen}
    assert TOKEN not in everything(layout.root)
    # from now on the record suffices, even without a token: the step downloads the weights
    assert resolve(layout, hub, "llama3.2:1b").source == "recorded"


def test_invalid_token(layout: Layout, hub: HubStandIn, token_file: str) -> None:
    with pytest.raises(InputError, match="does not accept the token") as caught:
        resolve(layout, hub, token_file=token_file)
    assert TOKEN not in f"{caught.value}{caught.value.details}{caught.value.__cause__}"


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "é", "x" * 5000])
def test_file_without_a_valid_token(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_token(str(path))
    assert not content or content not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_token_file() -> None:
    with pytest.raises(NotReadyError, match="/nowhere"):
        read_token("/nowhere")
    assert read_token("") == ""


def test_unreachable(layout: Layout) -> None:
    model = base_models_names.resolve(QWEN)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    with pytest.raises(RemoteError, match="connection refused") as caught:
        resolution.resolve_base(layout, model, environment={"HF_ENDPOINT": f"http://127.0.0.1:{port}"})
    assert "HF_ENDPOINT" in caught.value.hint
    with pytest.raises(RemoteError, match="name is not known"):
        resolution.resolve_base(layout, model, environment={"HF_ENDPOINT": "http://hub.invalid"})


@pytest.mark.parametrize("address", ["ftp://x", "huggingface.co", "http://user:secret@x"])
def test_invalid_addresses(layout: Layout, address: str) -> None:
    with pytest.raises(InputError, match="HF_ENDPOINT") as caught:
        resolution.resolve_base(layout, base_models_names.resolve(QWEN), environment={"HF_ENDPOINT": address})
    assert "secret" not in str(caught.value)


def test_busy_hub_is_retried(hub: HubStandIn) -> None:
    pauses: list[float] = []
    hub_client = HubClient(env(hub), sleep=pauses.append)
    hub.failures = [503, 429]
    assert hub_client.model_info(QWEN, "main")["id"] == QWEN
    assert pauses == [1.0, 2.0]
    hub.failures = [500, 502, 504]
    with pytest.raises(TransientError, match="504"):
        hub_client.model_info(QWEN, "main")
    hub.failures = [400]
    with pytest.raises(RemoteError, match="400") as caught:
        hub_client.model_info(QWEN, "main")
    assert not isinstance(caught.value, TransientError)


def test_proxy_is_used_and_bypassed(hub: HubStandIn) -> None:
    """The fake hub acts as a proxy, so it receives the full URL."""
    proxied = HubClient({"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": hub.url}, sleep=lambda _seconds: None)
    assert proxied.model_info(QWEN, "main")["id"] == QWEN
    assert hub.seen[-1].path.startswith("http://hub.invalid/api/models/")
    direct = HubClient({**env(hub), "http_proxy": "http://proxy.invalid:1", "no_proxy": "127.0.0.1"})
    assert direct.model_info(QWEN, "main")["id"] == QWEN
