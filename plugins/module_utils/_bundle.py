# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All modules of the core, so that Ansible ships the whole of it with a module that installs it on the host.

Ansible reads the imports of this file and does not run them. Written by ``tests/core_bundle.py``.
"""

from __future__ import annotations


def modules() -> None:
    """Never called: each import takes time, and Ansible finds them without."""
    from ._core.artifacts import integrity as _core_artifacts_integrity
    from ._core.artifacts import layout as _core_artifacts_layout
    from ._core.base_models import catalogue as _core_base_models_catalogue
    from ._core.base_models import chat_templates as _core_base_models_chat_templates
    from ._core.base_models import hub_client as _core_base_models_hub_client
    from ._core.base_models import hub_download as _core_base_models_hub_download
    from ._core.base_models import model_files as _core_base_models_model_files
    from ._core.base_models import names as _core_base_models_names
    from ._core.base_models import resolution as _core_base_models_resolution
    from ._core.datasets import dataset_info_file as _core_datasets_dataset_info_file
    from ._core.datasets import diff as _core_datasets_diff
    from ._core.datasets import json_reader as _core_datasets_json_reader
    from ._core.datasets import output_formats as _core_datasets_output_formats
    from ._core.datasets import problems as _core_datasets_problems
    from ._core.datasets import readers as _core_datasets_readers
    from ._core.datasets import registry as _core_datasets_registry
    from ._core.datasets import rendering as _core_datasets_rendering
    from ._core.datasets.rules import alpaca as _core_datasets_rules_alpaca
    from ._core.datasets.rules import base as _core_datasets_rules_base
    from ._core.datasets.rules import conversations as _core_datasets_rules_conversations
    from ._core.datasets.rules import preferences as _core_datasets_rules_preferences
    from ._core.datasets.rules import registry as _core_datasets_rules_registry
    from ._core.datasets.rules import text as _core_datasets_rules_text
    from ._core.datasets import source_text as _core_datasets_source_text
    from ._core.datasets import sources as _core_datasets_sources
    from ._core.datasets import statistics as _core_datasets_statistics
    from ._core.datasets import truncation as _core_datasets_truncation
    from ._core.datasets import validation_split as _core_datasets_validation_split
    from ._core.datasets import versions as _core_datasets_versions
    from ._core.distributed import node_line as _core_distributed_node_line
    from ._core.distributed import node_link as _core_distributed_node_link
    from ._core.distributed import nodes as _core_distributed_nodes
    from ._core.distributed import places as _core_distributed_places
    from ._core.engine import engine as _core_engine_engine
    from ._core.engine import gpu_lease as _core_engine_gpu_lease
    from ._core.engine import gpu_users as _core_engine_gpu_users
    from ._core.engine import installation as _core_engine_installation
    from ._core.engine import launcher as _core_engine_launcher
    from ._core.engine import model_versions as _core_engine_model_versions
    from ._core.engine import pending_steps as _core_engine_pending_steps
    from ._core.engine import reconciler as _core_engine_reconciler
    from ._core.engine import supervisor as _core_engine_supervisor
    from ._core.engine import worker as _core_engine_worker
    from ._core import errors as _core_errors
    from ._core.estimates import duration as _core_estimates_duration
    from ._core.estimates import fit as _core_estimates_fit
    from ._core.estimates import host as _core_estimates_host
    from ._core.estimates import memory as _core_estimates_memory
    from ._core import fingerprint as _core_fingerprint
    from ._core.formats import gguf as _core_formats_gguf
    from ._core.formats import safetensors as _core_formats_safetensors
    from ._core.formats import yaml as _core_formats_yaml
    from ._core import main as _core_main
    from ._core.ollama import client as _core_ollama_client
    from ._core.ollama import syntax as _core_ollama_syntax
    from ._core.planning import changes as _core_planning_changes
    from ._core.planning import declaration as _core_planning_declaration
    from ._core.planning import finetune as _core_planning_finetune
    from ._core.planning import node_training as _core_planning_node_training
    from ._core.planning import pipeline as _core_planning_pipeline
    from ._core.planning import plan as _core_planning_plan
    from ._core.planning import plan_text as _core_planning_plan_text
    from ._core.planning import plans as _core_planning_plans
    from ._core.planning import retraining as _core_planning_retraining
    from ._core.planning import saved_plan as _core_planning_saved_plan
    from ._core.planning import single_steps as _core_planning_single_steps
    from ._core.programs import compare_tokenizers as _core_programs_compare_tokenizers
    from ._core.programs import count_tokens as _core_programs_count_tokens
    from ._core.programs import list_llamafactory_arguments as _core_programs_list_llamafactory_arguments
    from ._core.programs import llamafactory_cli as _core_programs_llamafactory_cli
    from ._core.releases import gate as _core_releases_gate
    from ._core.releases import gate_evaluation as _core_releases_gate_evaluation
    from ._core.releases import lineage as _core_releases_lineage
    from ._core.releases import model_card as _core_releases_model_card
    from ._core.releases import promotion as _core_releases_promotion
    from ._core.releases import retention as _core_releases_retention
    from ._core.runners import command as _core_runners_command
    from ._core.runners import docker as _core_runners_docker
    from ._core.runners import process as _core_runners_process
    from ._core.runners import registry as _core_runners_registry
    from ._core.runners import runner as _core_runners_runner
    from ._core.runs import job_context as _core_runs_job_context
    from ._core.runs import progress as _core_runs_progress
    from ._core.runs import run as _core_runs_run
    from ._core.runs import schema as _core_runs_schema
    from ._core.runs import spec as _core_runs_spec
    from ._core.runs import status as _core_runs_status
    from ._core.runs import store as _core_runs_store
    from ._core.steps import base_model as _core_steps_base_model
    from ._core.steps import gguf as _core_steps_gguf
    from ._core.steps import gguf_adapter as _core_steps_gguf_adapter
    from ._core.steps import merge as _core_steps_merge
    from ._core.steps import promote as _core_steps_promote
    from ._core.steps import register as _core_steps_register
    from ._core.steps import registry as _core_steps_registry
    from ._core.steps import retain as _core_steps_retain
    from ._core.steps import step as _core_steps_step
    from ._core.steps import tool_environment as _core_steps_tool_environment
    from ._core.steps import tool_errors as _core_steps_tool_errors
    from ._core.steps import train as _core_steps_train
    from ._core.steps import train_node as _core_steps_train_node
    from ._core.steps import worker_command as _core_steps_worker_command
    from ._core.system import clock as _core_system_clock
    from ._core.system import disk as _core_system_disk
    from ._core.system import docker as _core_system_docker
    from ._core.system import environment as _core_system_environment
    from ._core.system import files as _core_system_files
    from ._core.system import gpus as _core_system_gpus
    from ._core.system import local_services as _core_system_local_services
    from ._core.system import locks as _core_system_locks
    from ._core.system import log as _core_system_log
    from ._core.system import memory as _core_system_memory
    from ._core.system import ownership as _core_system_ownership
    from ._core.system import ports as _core_system_ports
    from ._core.system import processes as _core_system_processes
    from ._core.training import adapter_export as _core_training_adapter_export
    from ._core.training import checkpoints as _core_training_checkpoints
    from ._core.training import float32_base as _core_training_float32_base
    from ._core.training import hyperparameters as _core_training_hyperparameters
    from ._core.training import image_arguments as _core_training_image_arguments
    from ._core.training import llamafactory_arguments as _core_training_llamafactory_arguments
    from ._core.training import options as _core_training_options
    from ._core.training import stages as _core_training_stages
    from ._core.training import trainer_log as _core_training_trainer_log
    from ._core import version as _core_version
