# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode writes nothing, and its prediction matches the real changes: for random declarations and histories.

``IA_CHECK_EXAMPLES`` (8): number of examples per test. With the real tools: ``tests/real/test_plays_real.py``.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import typing as t
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import model_files
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.modules import call
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

random_examples = settings(
    max_examples=int(os.environ.get("IA_CHECK_EXAMPLES", "8")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # no shrinking: an example takes a second and is small enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# -- the engine, with trivial real commands ------------------------------------------------------------------------

#: What a step does: each number produces different content, and so a different fingerprint; -1 fails.
SCRIPTS = st.integers(-1, 1)
RUN = st.tuples(st.lists(SCRIPTS, min_size=1, max_size=3), st.sampled_from(["probe", "light_probe"]))
EVENT = st.one_of(
    st.tuples(st.just("apply"), st.integers(0, 2)),
    st.tuples(st.just("lose"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("truncate"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("spoil"), st.integers(0, 2), st.integers(0, 2)),
)


def make_run(lab: Lab, number: int, declared: tuple[list[int], str]) -> Run:
    """Create a run from its random declaration."""
    scripts, kind = declared
    texts = ["echo no >&2; exit 3" if script < 0 else f"echo {script} > out" for script in scripts]
    return lab.run(f"run-{number}", *texts, kind=kind, expects=["out"])


def apply_event(lab: Lab, runs: list[Run], event: tuple[t.Any, ...]) -> None:
    """Apply one event of the history."""
    run = runs[event[1] % len(runs)]
    if event[0] == "apply":
        lab.apply(run)
        return
    path = lab.artifact(run, event[2] % len(run.steps))
    if not path.is_dir():
        return
    if event[0] == "lose":
        (path / "out").unlink(missing_ok=True)
    elif event[0] == "truncate" and (path / "out").exists():
        (path / "out").write_text("")
    elif event[0] == "spoil":
        (path / "receipt.json").write_text("{")


def inodes(lab: Lab, run: Run) -> dict[str, int]:
    """Return the inode of each step's artifact, by label; a rebuilt artifact has another inode."""
    result = {}
    for index, step in enumerate(run.steps):
        path = lab.artifact(run, index)
        result[step.label] = path.stat().st_ino if path.is_dir() else 0
    return result


@random_examples
@given(declared=st.lists(RUN, min_size=1, max_size=2), history=st.lists(EVENT, max_size=4), again=st.booleans())
def test_preview_predicts_the_steps_of_a_run(
    installed_core: Path, declared: list[tuple[list[int], str]], history: list[tuple[t.Any, ...]], again: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), installed_core)
        try:
            runs = [make_run(lab, number, one) for number, one in enumerate(declared)]
            for event in history:
                apply_event(lab, runs, event)
            for run in runs * (2 if again else 1):
                lab.wait(lambda: not lab.processes())  # no process may write while the tree is compared
                before, inodes_before = lab.tree(), inodes(lab, run)
                preview = lab.engine.preview(run)
                lab.engine.observe_all()
                assert lab.tree() == before, "preview or observe_all wrote something"
                submission = lab.engine.submit(run)
                assert list(submission.pending) == preview.pending
                view = lab.engine.follow(run.id, timeout=120, poll=0.02) if preview.pending else submission.view
                built = [label for label, inode in inodes(lab, run).items() if inode not in (0, inodes_before[label])]
                if view.state == "succeeded":
                    assert built == preview.pending
                    assert lab.engine.preview(run).pending == []
                else:
                    failed = preview.pending.index(str((view.error or {})["step"]))
                    assert built == preview.pending[:failed]
                    assert lab.engine.preview(run).pending == preview.pending[failed:]
        finally:
            lab.close()


# -- the modules -----------------------------------------------------------------------------------------------------

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 16,
    "tie_word_embeddings": True, "max_position_embeddings": 128,
}  # fmt: skip

TEXT = st.text("ab é\n", max_size=4)
ROW = st.one_of(
    st.fixed_dictionaries(
        {"instruction": TEXT.map("Demande {}".format), "output": TEXT.map("Réponse {}".format)},
        optional={"system": st.just("Tu es bref."), "input": TEXT},
    ),
    st.fixed_dictionaries({"instruction": TEXT, "output": st.one_of(TEXT, st.none(), st.integers())}),
)
DECLARED = st.fixed_dictionaries(
    {"name": st.sampled_from(["one", "two"]), "base_model": st.sampled_from(["base-0", "base-1"])},
    optional={
        "method": st.sampled_from(["lora", "full", "auto", "freeze", "prompt_tuning"]),
        "learning_rate": st.sampled_from(["2e-4", 0.0002, 1e-3, 0]),
        "epochs": st.sampled_from([1, "1.0", 3]),
        "lora_rank": st.sampled_from([8, "8", 16]),
        "quantization": st.sampled_from(["q4_K_M", "Q4_k_m", "q8_0", "q9"]),
        "regenerate": st.just("on_change"),
        "template": st.sampled_from(["qwen", "llama3"]),
    },
)


def make_base(root: Path, value: float) -> None:
    """Create a model directory with the files that are read before LLaMA-Factory starts."""
    root.mkdir()
    (root / "config.json").write_text(json.dumps(CONFIG))
    (root / "tokenizer_config.json").write_text(json.dumps({"chat_template": "<|im_start|>{{ role }}"}))
    raw = struct.pack("<128f", *[value] * 128)
    write_safetensors(root / "model.safetensors", {"model.embed_tokens.weight": ("F32", [16, 8], raw)})


def predicted_and_real(lab: Lab, name: str, arguments: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return the result of a module in check mode, which must write nothing, and its real result."""
    before = lab.tree() if lab.data.exists() else None
    predicted = call(name, arguments, check=True, diff=True)
    assert (lab.tree() if lab.data.exists() else None) == before, f"check mode of {name} wrote something"
    return predicted, call(name, arguments, diff=True)


@random_examples
@given(rounds=st.lists(st.tuples(st.lists(ROW, max_size=4), DECLARED), min_size=1, max_size=3))
def test_check_mode_predicts_the_results_of_the_modules(
    installed_core: Path, rounds: list[tuple[list[dict[str, t.Any]], dict[str, t.Any]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(2):
            make_base(root / f"base-{number}", float(number))
        lab = Lab(root, installed_core)
        try:
            for rows, declared in rounds:
                dataset = {"name": "prompts", "records": rows, "data_dir": str(lab.data)}
                predicted, real = predicted_and_real(lab, "dataset", dataset)
                for key in ("failed", "msg", "changed", "fingerprint", "reasons", "rows"):
                    assert predicted.get(key) == real.get(key), key
                if real.get("failed"):
                    continue
                assert call("dataset", dataset, check=True)["changed"] is False
                submit_finetune(lab, root, real, declared)
        finally:
            lab.close()


def submit_finetune(lab: Lab, root: Path, dataset: dict[str, t.Any], declared: dict[str, t.Any]) -> None:
    """Submit a fine-tune whose tools do not exist: its base succeeds, its training fails."""
    finetune = {**declared, "base_model": str(root / declared["base_model"]), "dataset": "prompts", "register": False}
    finetune.pop("regenerate", None)
    arguments = {
        "data_dir": str(lab.data), "state": "submitted", "finetunes": [finetune], "datasets": {"prompts": dataset},
        "accelerator": "cpu", "toolchain": {"llamafactory_venv": str(root / "nothing")},
    }  # fmt: skip
    predicted, real = predicted_and_real(lab, "job", arguments)
    for key in ("failed", "msg", "changed"):
        assert predicted.get(key) == real.get(key), key
    if real.get("failed"):
        return
    (predicted_run,), (real_run,) = predicted["runs"], real["runs"]
    assert predicted_run["pending"] == real_run["pending"]
    assert predicted_run["id"] == real_run["id"]
    predicted_fingerprints = [step["fingerprint"] for step in predicted_run["steps"]]
    assert predicted_fingerprints == [step["fingerprint"] for step in real_run["steps"]]
    ended = call("job", {"data_dir": str(lab.data), "run": real_run["id"]})["runs"][0]
    assert ended["state"] == "failed" and (ended["error"] or {}).get("step") == "train", ended
    assert lab.broken() == []
    complete = [step["label"] for step in ended["steps"] if step["state"] == "whole"]
    pending = call("job", arguments, check=True)["runs"][0]["pending"]
    assert pending == [label for label in predicted_run["pending"] if label not in complete]
    assert pending == [label for label in predicted_run["pending"] if label != "base"]


def test_unchanged_weights_are_not_hashed_again(lab: Lab, tmp_path: Path) -> None:
    """While size, modification time and inode are unchanged, no weights are hashed, in check mode or otherwise."""
    make_base(tmp_path / "base", 1.0)
    weights = tmp_path / "base" / "model.safetensors"
    rows = [{"instruction": "Qui es-tu ?", "output": "L'assistant du homelab."}]
    dataset = call("dataset", {"name": "prompts", "records": rows, "data_dir": str(lab.data)})
    arguments = {
        "data_dir": str(lab.data), "state": "submitted", "accelerator": "cpu", "datasets": {"prompts": dataset},
        "finetunes": [
            {"name": "one", "base_model": str(tmp_path / "base"), "dataset": "prompts", "template": "qwen",
             "method": "lora", "register": False}
        ],
        "toolchain": {"llamafactory_venv": str(tmp_path / "nothing")},
    }  # fmt: skip
    first = call("job", arguments)["runs"][0]
    call("job", {"data_dir": str(lab.data), "run": first["id"]})
    with mock.patch.object(
        model_files, "sha256_file", side_effect=AssertionError("the file was hashed again")
    ) as reader:
        for check in (True, False):
            assert call("job", arguments, check=check)["runs"][0]["id"] == first["id"]
        assert not reader.called
    call("job", {"data_dir": str(lab.data), "run": first["id"]})
    status, content = weights.stat(), weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-4] + b"\0\0\0\1")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights.stat().st_size == status.st_size
    if weights.stat().st_ino != status.st_ino:
        assert call("job", arguments, check=True)["runs"][0]["id"] != first["id"], (
            "a different file with the same modification time and size was not detected"
        )
    weights.write_bytes(content)
    os.utime(weights, ns=(1, 1))
    with mock.patch.object(model_files, "sha256_file", wraps=model_files.sha256_file) as reader:
        assert call("job", arguments, check=True)["runs"][0]["id"] == first["id"]
        assert [os.path.basename(read.args[0]) for read in reader.call_args_list].count("model.safetensors") == 1
