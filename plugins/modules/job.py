#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: job
short_description: Submit, follow and cancel fine-tuning runs
version_added: 0.1.0
description:
  - Submits all steps of one or more fine-tunes at once. The steps run detached on the host, in order, independent of
    the controller and the connection.
  - The required steps are determined backwards from the served model. If it is complete, nothing is done, even if some
    of its inputs have been pruned since.
  - An identical request is the same run. The module attaches to an active run, and retries a failed run from its
    checkpoint.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  state:
    description:
      - V(submitted) submits the O(finetunes) and returns at once.
      - V(finished) submits the O(finetunes), if any, and follows them, or the one O(run), to the end.
      - V(cancelled) stops the run O(run), or all active runs of the fine-tune O(name). Their checkpoints are kept.
      - V(dismissed) removes the ended run O(run), or all failed and cancelled runs of the fine-tune O(name), with their
        logs, so that they are not reported any more. What they have made is kept, and so are checkpoints.
    type: str
    choices: [submitted, finished, cancelled, dismissed]
    default: finished
  finetunes:
    description:
      - Fine-tunes, as declared in C(finetunes) of the inventory. A list of entries, or a dictionary of entries by the
        name of the fine-tune.
      - The README of the role P(ia_homelab.llamafactory.finetune#role) lists their options.
    type: raw
  datasets:
    description:
      - Results of the module M(ia_homelab.llamafactory.dataset), by the name of the dataset.
      - Only required in check mode on a host where the dataset has not been published yet.
    type: dict
    default: {}
  plan:
    description:
      - Saved plans of these O(finetunes) from M(ia_homelab.llamafactory.plan_info). If a plan is stale, nothing is
        submitted, and the task fails with the changes.
    type: list
    elements: dict
  nodes:
    description:
      - The hosts of those O(finetunes) that several hosts train together. By the name of the fine-tune, C(names) and
        C(addresses) of the hosts, the leading one first; C(rank) of this host; and C(port), as chosen by
        M(ia_homelab.llamafactory.training_node) on the leading host.
      - On the other hosts, C(offer) is the result of that module on the leading host, and C(session) identifies the
        attempt, as in RV(runs[].session) of the leading host. Such a host only takes part in that training and runs no
        other step of the fine-tune.
    type: dict
    default: {}
  run:
    description:
      - Id of the run to follow, cancel or dismiss.
    type: str
  name:
    description:
      - Name of the fine-tune whose active runs are cancelled, or whose failed runs are dismissed.
    type: str
  until:
    description:
      - Follow O(run) only until no step with these labels is pending.
    type: list
    elements: str
  kinds:
    description:
      - Follow the O(runs) only until none of their steps of these kinds is pending, and return only these steps.
    type: list
    elements: str
  summary:
    description:
      - Also return RV(results), in a few facts what the O(runs) have made.
    type: bool
    default: false
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow
  - ia_homelab.llamafactory.follow.host
  - ia_homelab.llamafactory.follow.accelerator
attributes:
  diff_mode:
    support: full
    details:
      - The plan with the steps that would run, the reasons, and the GPU memory, RAM, disk space and time they require.
seealso:
  - module: ia_homelab.llamafactory.job_info
  - module: ia_homelab.llamafactory.plan_info
"""

EXAMPLES = r"""
- name: Fine-tune a model and follow the run until the model is served
  ia_homelab.llamafactory.job:
    data_dir: /data/llamafactory
    toolchain: "{{ llamafactory_toolchain }}"
    finetunes:
      - name: homelab-model
        base_model: qwen2.5:7b
        dataset: homelab_prompts
        method: lora

- name: Cancel the run and keep its checkpoint
  ia_homelab.llamafactory.job:
    data_dir: /data/llamafactory
    name: homelab-model
    state: cancelled
"""

RETURN = r"""
results:
  description: What the runs have made.
  returned: when O(summary=true)
  type: list
  elements: dict
  sample:
    - name: homelab-model
      version: homelab-model:3fa9c1d2e4b5-q4_K_M
      alias: homelab-model:latest
      loss_first: 2.61
      loss_last: 0.84
      findings: []
      seconds: 612.0
      path: ""
      evaluation: "calls 48/50, text 71.2, vs served +3.1 ± 2.0"
runs:
  description: The runs, with the steps that were pending when they were submitted.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Id of the run.
      type: str
      sample: homelab-model-3fa9c1d2e4b5
    name:
      description: Name of the fine-tune.
      type: str
      sample: homelab-model
    state:
      description: Current state.
      type: str
      sample: queued
    pending:
      description: Labels of the steps that were pending when the run was submitted, in order.
      type: list
      elements: str
      sample: [train, merge, gguf-f16, gguf-q4_K_M, register-q4_K_M]
    session:
      description: Identifies this attempt for the other hosts of a training on several hosts.
      type: str
      sample: homelab-model-3fa9c1d2e4b5:1
    waiting:
      description: Labels of the steps that are still pending.
      type: list
      elements: str
    steps:
      description: All steps in order, with label, kind, fingerprint, state, path, and the reason if incomplete.
      type: list
      elements: dict
plans:
  description: The plan of each fine-tune, as M(ia_homelab.llamafactory.plan_info) makes it.
  returned: in check mode or diff mode, when O(finetunes) is given
  type: list
  elements: dict
steps:
  description: The steps of all runs with their results.
  returned: when O(state) is V(submitted) or V(finished)
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import Nodes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.states import RunState
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import (
    FOLLOW_SPEC,
    answer,
    follow_runs,
    run_entry,
    submission_entry,
    toolchain,
    warn_findings,
    warn_unchecked,
)

# The imports for a submission, a third of the core, are deferred: while a job is followed, this module is started and
# recompiled every few seconds, concurrently with the training.

#: How many ended runs are searched for a name.
_KNOWN_RUNS = 1000


def cancel(module: AnsibleModule, engine: Engine) -> dict[str, t.Any]:
    run_id, name = module.params["run"], module.params["name"]
    active = [view for view in engine.observe_all(0) if not view.state.ended and not view.cancelling]
    if run_id:
        engine.observe(run_id)
    chosen = [view for view in active if view.id == run_id or (name and view.name == name)]
    if name and not chosen:
        require_known(engine, name)
    if not module.check_mode:
        for view in chosen:
            engine.cancel(view.id)
        if module.params["wait"]:
            for view in chosen:
                engine.follow(view.id, timeout=module.params["timeout"])
    runs = [run_entry(view if module.check_mode else engine.observe(view.id), [], None) for view in chosen]
    return {"changed": bool(chosen), "runs": runs}


def require_known(engine: Engine, name: str) -> None:
    """Refuse to cancel a fine-tune that has no run, whether active or ended.

    :raises InputError: with the names of those that have one.
    """
    known = sorted({view.name for view in engine.observe_all(_KNOWN_RUNS)})
    if name not in known:
        if not known:
            raise InputError("modules.cancel_none", name=name)
        raise InputError("modules.cancel_unknown", name=name, known=known)


def dismiss(module: AnsibleModule, engine: Engine) -> dict[str, t.Any]:
    run_id, name = module.params["run"], module.params["name"]
    if run_id:
        chosen = [engine.observe(run_id)]
    else:
        require_known(engine, name)
        ended = [view for view in engine.observe_all(_KNOWN_RUNS) if view.name == name]
        chosen = [view for view in ended if view.state in (RunState.FAILED, RunState.CANCELLED)]
    active = [view.id for view in chosen if not view.state.ended]
    if active:
        raise InputError("runs.dismiss_active", run=active[0])
    for view in chosen if not module.check_mode else []:
        engine.dismiss(view.id)
    return {"changed": bool(chosen), "runs": [run_entry(view, [], None) for view in chosen]}


def follow_one(module: AnsibleModule, engine: Engine) -> dict[str, t.Any]:
    until = module.params["until"]
    if module.check_mode:
        view = engine.observe(module.params["run"])
    else:
        view = engine.follow(module.params["run"], set(until) if until is not None else None, module.params["timeout"])
    labels = until if until is not None else [step.label for step in view.steps]
    return {"changed": False, "runs": [run_entry(view, labels, None)]}


def submit(module: AnsibleModule, engine: Engine) -> dict[str, t.Any]:
    if module.params["runs"] is not None:
        kinds = tuple(module.params["kinds"] or KINDS)
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise InputError("modules.step_unknown", kind=unknown[0], known=list(KINDS))
        result = answer(follow_runs(module, engine, module.params["runs"], kinds), kinds)
        if module.params["summary"]:
            from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.results import results_of

            result["results"] = [results_of(run["name"], run["steps"]) for run in module.params["runs"]]
        else:
            warn_findings(module, result)
        return result
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import warnings_of

    runs = [planned_run(module, engine, declared) for declared in entries(module.params["finetunes"])]
    planned = plans(module, engine, runs)
    warnings = [warning for each in planned.get("plans") or [] for warning in each["warnings"]]
    warnings += [str(warning) for run in runs for warning in warnings_of(run, engine.layout)]
    for warning in dict.fromkeys(warnings):
        module.warn(warning)
    if module.check_mode:
        views = [engine.preview(run) for run in runs]
        previewed = [run_entry(view, view.pending, None) for view in views]
        warn_unchecked(module, previewed)
        return {**answer(previewed, KINDS), **planned}
    for warning in engine.check_start(runs):
        module.warn(str(warning))
    submitted = [submit_run(engine, run) for run in runs]
    warn_unchecked(module, submitted)
    if module.params["state"] == "submitted":
        changed = any(entry["pending"] for entry in submitted)
        return {**submission_answer(submitted), **planned, "changed": changed}
    if module.params["wait"]:
        submitted = [
            run_entry(engine.follow(entry["id"], timeout=module.params["timeout"]), entry["pending"], None)
            if entry["waiting"]
            else entry
            for entry in submitted
        ]
    result = answer(submitted, KINDS)
    warn_findings(module, result)
    return {**result, **planned}


def planned_run(module: AnsibleModule, engine: Engine, declared: dict[str, t.Any]) -> Run:
    """Plan the run of a fine-tune, or of this host's part in it."""
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request

    params = module.params
    node_options = params["nodes"].get(declared.get("name"))
    nodes = Nodes.from_dict(node_options) if node_options else None
    host = Host(
        toolchain(params),
        params["accelerator"],
        params["datasets"],
        write=not module.check_mode,
        nodes=nodes.as_dict() if nodes else None,
        lead=node_options["offer"] if nodes is not None and nodes.rank > 0 else None,
    )
    return plan(engine.layout, Request.finetune(declared), host)


def submit_run(engine: Engine, run: Run) -> dict[str, t.Any]:
    """Submit a run and return its entry for the module result."""
    parts = [step for step in run.steps if step.spec.kind == "train_node"]
    for view in engine.observe_all(0) if parts else []:
        # a run of an earlier attempt would wait for the other hosts and block this one
        if view.name == run.name and view.id != run.id and any(step.kind == "train_node" for step in view.steps):
            engine.cancel(view.id)
    entry = submission_entry(engine.submit(run), None)
    record = engine.store.record(run.id)
    return {**entry, "session": f"{run.id}:{record.round if record else 0}"}


def plans(module: AnsibleModule, engine: Engine, runs: list[Run]) -> dict[str, t.Any]:
    """Return the plans in check mode or diff mode, or if a saved plan must be compared; else an empty result."""
    saved = module.params["plan"]
    if not module.check_mode and not module._diff and saved is None:
        return {}
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plans import plans_of, text_of

    previews = [(run, engine.preview(run)) for run in runs]
    accelerator, datasets = module.params["accelerator"], module.params["datasets"]
    obstacles = engine.obstacles(runs) if module.check_mode else []
    made = plans_of(engine.layout, previews, accelerator, datasets, saved, obstacles)
    text = text_of([each for each in made if each["changed"]])
    return {"plans": made, **({"diff": {"prepared": text}} if module._diff and text else {})}


def submission_answer(entries: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    # if a run failed right after its submission, the task that follows it reports the failure
    return answer([{**entry, "state": "running"} if entry["pending"] else entry for entry in entries], KINDS)


def act(module: AnsibleModule) -> dict[str, t.Any]:
    engine = Engine(module.params["data_dir"])
    if module.params["state"] == "cancelled":
        if not module.params["run"] and not module.params["name"]:
            raise InputError("modules.cancel_what")
        return cancel(module, engine)
    if module.params["state"] == "dismissed":
        if not module.params["run"] and not module.params["name"]:
            raise InputError("modules.dismiss_what")
        return dismiss(module, engine)
    if module.params["run"]:
        return follow_one(module, engine)
    if module.params["finetunes"] is None and module.params["runs"] is None:
        raise InputError("modules.nothing_to_do")
    return submit(module, engine)


def main() -> None:
    run_module(
        {
            **FOLLOW_SPEC,
            "state": {
                "type": "str",
                "choices": ["submitted", "finished", "cancelled", "dismissed"],
                "default": "finished",
            },
            "finetunes": {"type": "raw"},
            "datasets": {"type": "dict", "default": {}},
            "plan": {"type": "list", "elements": "dict"},
            "nodes": {"type": "dict", "default": {}},
            "run": {"type": "str"},
            "name": {"type": "str"},
            "until": {"type": "list", "elements": "str"},
            "kinds": {"type": "list", "elements": "str"},
            "summary": {"type": "bool", "default": False},
            "accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
        },
        act,
        mutually_exclusive=[("run", "name"), ("run", "finetunes")],
    )


if __name__ == "__main__":
    main()
