# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step base, in this process: downloads, completeness checks, and local directories.

The complete step, in processes that are killed, is tested in ``tests/real/test_base_real.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import RECEIPT, Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import names, resolution
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    JobError,
    NotReadyError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import base_model
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.base_model import BaseStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    remove_tree,
    write_json,
)
from ansible_collections.ia_homelab.llamafactory.tests.support import hub_lab
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn

CONFIG = {**hub_lab.CONFIG, "tie_word_embeddings": False}
STEP = BaseStep()


def weights(rows: int = 400) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [rows, 64], "data_offsets": [0, rows * 256]}}).encode()
    return struct.pack("<Q", len(header)) + header + os.urandom(rows * 256)


FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": json.dumps({"chat_template": "<|start_header_id|>"}).encode(),
    "model.safetensors": weights(),
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[HubStandIn]:
    with HubStandIn() as server:
        server.add("org/model", FILES)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def context(tmp_path: Path, identity: resolution.BaseIdentity, token_file: str = "") -> StepContext:
    layout = Layout(str(tmp_path / "data"))
    layout.create()
    spec = StepSpec("base", identity.fingerprint, dict(identity.settings), {}, identity.options)
    job = tmp_path / "job"
    job.mkdir(exist_ok=True)
    ctx = StepContext(layout, spec, Toolchain(token_file=token_file), layout.work("base", spec.fingerprint), str(job))
    os.makedirs(ctx.work, exist_ok=True)
    return ctx


def resolved(tmp_path: Path, name: str = "org/model", **more: t.Any) -> resolution.BaseIdentity:
    return resolution.resolve_base(Layout(str(tmp_path / "data")), names.resolve(name), **more)


# -- from a hub ----------------------------------------------------------------------------------------------------


def test_fetch_and_finish(hub: HubStandIn, tmp_path: Path) -> None:
    ctx = context(tmp_path, resolved(tmp_path))
    command = STEP.command(ctx)
    assert command is not None
    assert command.argv[-1] == ctx.job_dir
    STEP.perform(ctx)
    progress = STEP.progress(ctx)
    assert progress is not None
    assert (progress.unit, progress.percent) == ("B", 100)
    Path(ctx.work, "left.over").write_text("of another attempt")
    results = STEP.finish(ctx)
    assert sorted(os.listdir(ctx.work)) == sorted(FILES)
    assert results == {
        "location": None,
        "hub": "org/model",
        "commit": hub.repositories["org/model"].commit,
        "bytes": sum(map(len, FILES.values())),
        "template": "",
        "template_source": "",
        "model_type": "llama",
        "shape": dataclasses.asdict(names.Shape("llama", 1, 64, 128, 2, 2, 32, 100, 400 * 64, False)),
    }
    assert STEP.drift(ctx) == []


CODE = {"modeling_model.py": b"print('runs')\n", "tokenization_model.py": b"import os\n"}


def with_code(ctx: StepContext) -> StepContext:
    """The context of a step for a training that declares ``trust_remote_code``."""
    options = {**ctx.spec.options, "remote_code": True}
    os.makedirs(ctx.work, exist_ok=True)
    return dataclasses.replace(ctx, spec=dataclasses.replace(ctx.spec, options=options))


def make_artifact(ctx: StepContext) -> dict[str, t.Any]:
    """Run the step, and publish its result like the supervisor."""
    STEP.perform(ctx)
    results = STEP.finish(ctx)
    final = Path(ctx.layout.artifact("base", ctx.spec.fingerprint))
    if final.exists():
        remove_tree(str(final))
    final.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        os.path.join(ctx.work, RECEIPT), {"fingerprint": ctx.spec.fingerprint, "kind": "base", "results": results}
    )
    os.rename(ctx.work, final)
    return results


def test_code_is_fetched_only_where_it_is_declared(
    hub: HubStandIn, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.add("org/model", {**FILES, **CODE})
    ctx = context(tmp_path, resolved(tmp_path))
    results = make_artifact(ctx)
    final = Path(ctx.layout.artifact("base", ctx.spec.fingerprint))
    assert {path.name for path in final.iterdir()} == {*FILES, RECEIPT}
    assert results["code_left_out"] == sorted(CODE)
    output = "".join(capfd.readouterr())
    assert "extra.trust_remote_code is not declared: modeling_model.py, tokenization_model.py" in output
    assert STEP.drift(ctx) == []
    # declared afterwards, the artifact is completed: the weights are not fetched again
    declared = with_code(ctx)
    assert [str(reason) for reason in STEP.drift(declared)] == [
        "the code of the repository is declared and was not fetched: modeling_model.py, tokenization_model.py"
    ]
    before = len(hub.seen)
    assert "code_left_out" not in make_artifact(declared)
    fetched = {one.path.rpartition("/")[2] for one in hub.seen[before:]}
    assert not any("safetensors" in name for name in fetched)
    assert {path.name: path.read_bytes() for path in final.iterdir() if path.name != RECEIPT} == {**FILES, **CODE}
    assert {path.stat().st_nlink for path in final.iterdir()} == {1}
    assert STEP.drift(declared) == STEP.drift(ctx) == []


def test_a_damaged_file_of_the_earlier_artifact_is_fetched_again(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("org/model", {**FILES, **CODE})
    ctx = context(tmp_path, resolved(tmp_path))
    make_artifact(ctx)
    final = Path(ctx.layout.artifact("base", ctx.spec.fingerprint))
    _flip(final / "model.safetensors")
    make_artifact(with_code(ctx))
    assert (final / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_an_artifact_of_an_earlier_version_has_its_code(hub: HubStandIn, tmp_path: Path) -> None:
    ctx = context(tmp_path, resolved(tmp_path))
    make_artifact(ctx)  # its receipt has no code_left_out
    assert STEP.drift(with_code(ctx)) == []


def test_command_contains_no_token(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "hf_CanaryThatMustNotBeSeen"
    (tmp_path / "token").write_text(token)
    monkeypatch.setenv("HF_TOKEN", token)
    identity = resolved(tmp_path)
    command = STEP.command(context(tmp_path, identity, str(tmp_path / "token")))
    assert command is not None
    assert token not in f"{command}"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda work, job: (work / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda work, job: (work / "model.safetensors").write_bytes(b"short"), "model.safetensors is damaged"),
        (lambda work, job: _flip(work / "model.safetensors"), "model.safetensors is damaged"),
        (lambda work, job: _flip(work / "config.json"), "config.json is damaged"),
        (lambda work, job: (job / "files.json").unlink(), "did not finish"),
    ],
)
def test_finish_checks_the_files_despite_exit_status_0(
    hub: HubStandIn, tmp_path: Path, damage: t.Callable[[Path, Path], object], message: str
) -> None:
    ctx = context(tmp_path, resolved(tmp_path))
    STEP.perform(ctx)
    damage(Path(ctx.work), Path(ctx.job_dir))
    with pytest.raises(JobError, match=message):
        STEP.finish(ctx)
    STEP.perform(ctx)
    assert STEP.finish(ctx)["hub"] == "org/model"


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def test_incomplete_repository(hub: HubStandIn, tmp_path: Path) -> None:
    shard = "model-00001-of-00002.safetensors"
    index = json.dumps({"weight_map": {"w": shard, "v": "model-00002-of-00002.safetensors"}}).encode()
    files = {"config.json": FILES["config.json"], shard: weights(), "model.safetensors.index.json": index}
    hub.add("org/half", files)
    ctx = context(tmp_path, resolved(tmp_path, "org/half"))
    STEP.perform(ctx)
    with pytest.raises(JobError, match="model-00002-of-00002"):
        STEP.finish(ctx)


def test_not_enough_disk_space(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path, resolved(tmp_path))
    monkeypatch.setattr(base_model, "free_bytes", lambda _path: 16 * 1024 * 1024 + 1000)
    with pytest.raises(NotReadyError, match=r"No room for org/model") as caught:
        STEP.perform(ctx)
    assert caught.value.details["missing_bytes"] == sum(map(len, FILES.values()))
    assert hub.total_sent() == len(FILES["config.json"]) + len(FILES["tokenizer_config.json"])  # by the resolution
    # files that are already downloaded need no disk space
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    STEP.perform(ctx)
    monkeypatch.setattr(base_model, "free_bytes", lambda _path: 16 * 1024 * 1024)
    STEP.perform(ctx)


def test_gated_model_fails_before_any_download(hub: HubStandIn, tmp_path: Path) -> None:
    identity = resolved(tmp_path)
    hub.repositories["org/model"].gated = True
    sent = hub.total_sent()
    with pytest.raises(InputError, match="gated"):
        STEP.perform(context(tmp_path, identity))
    assert hub.total_sent() == sent


# -- a local directory ---------------------------------------------------------------------------------------------


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    root = tmp_path / "local"
    root.mkdir()
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    return root


def publish(ctx: StepContext, results: dict[str, t.Any]) -> None:
    """Publish an artifact as the supervisor does."""
    final = ctx.layout.artifact("base", ctx.spec.fingerprint)
    os.rename(ctx.work, final)
    write_json(os.path.join(final, RECEIPT), {"results": results})


def test_local_directory_is_referenced(tmp_path: Path, model_dir: Path) -> None:
    ctx = context(tmp_path, resolved(tmp_path, str(model_dir)))
    assert STEP.command(ctx) is None
    results = STEP.finish(ctx)
    assert (results["location"], results["template"], results["model_type"]) == (str(model_dir), "", "llama")
    assert results["directory"] == ctx.spec.settings["directory"]
    assert os.listdir(ctx.work) == []
    publish(ctx, results)
    assert STEP.drift(ctx) == []
    # new timestamps with the same content are no drift; changed content is
    os.utime(model_dir / "model.safetensors")
    assert STEP.drift(ctx) == []
    _flip(model_dir / "model.safetensors")
    assert [str(each) for each in STEP.drift(ctx)] == [f"the files in {model_dir} have changed"]
    (model_dir / "model.safetensors").unlink()
    assert [str(each) for each in STEP.drift(ctx)] == [f"the files in {model_dir} have changed"]


def test_local_directory_that_changed(tmp_path: Path, model_dir: Path) -> None:
    ctx = context(tmp_path, resolved(tmp_path, str(model_dir)))
    (model_dir / "tokenizer.json").write_text("{}")
    with pytest.raises(NotReadyError, match="has changed since"):
        STEP.finish(ctx)
    (model_dir / "model.safetensors").unlink()
    with pytest.raises(InputError, match="incomplete or corrupt"):
        STEP.finish(ctx)
