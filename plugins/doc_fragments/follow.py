# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that start detached work on the host and follow it."""

from __future__ import annotations


class ModuleDocFragment:
    """Location of data and tools on the host, and how long to wait."""

    #: Location of data and tools on the host.
    HOST = r"""
options:
  data_dir:
    description:
      - Directory on the host for models, datasets, outputs and jobs.
      - The roles and playbooks set it from C(llamafactory_data_dir).
      - It must be absolute and must not contain spaces.
    type: path
    required: true
  toolchain:
    description:
      - Location of the tools on the host. The role C(ia_homelab.llamafactory.llamafactory) installs them and sets
        C(llamafactory_toolchain).
      - Not part of the fingerprint of a result.
    type: dict
    suboptions:
      llamafactory_venv:
        description: Virtual environment with LLaMA-Factory.
        type: path
      converter_venv:
        description: Virtual environment for llama.cpp's converter.
        type: path
      llama_cpp_dir:
        description: Directory with C(convert_hf_to_gguf.py), and C(llama-quantize) and C(llama-tokenize) under C(bin).
        type: path
      llamafactory_image:
        description: Image with LLaMA-Factory, present in the host's Docker Engine. Trainings and merges run in it.
        type: str
      llama_cpp_image:
        description:
          - Image with llama.cpp and its converter. GGUF files are created in it; without it, on the host itself.
        type: str
      image_path:
        description:
          - Colon-separated directories inside the images that are searched for programs before the C(PATH) of the
            image.
        type: str
      image_llama_cpp_dir:
        description:
          - Directory inside the image with C(convert_hf_to_gguf.py), and the programs next to it or under C(bin).
        type: str
        default: /app
      ollama_while_training:
        description:
          - Handling of Ollama while a training leases the GPU. V(unload) unloads its models before the training, and
            Ollama loads a model again on the next request. V(stop) stops Ollama, V(cpu) restarts it without a GPU; in
            both cases it is restored when the training has ended. V(share) does not change it.
          - With V(stop) and V(cpu), a training waits until no job registers, promotes or removes a model, because they
            use Ollama. With V(stop), such a job waits until the training has ended.
          - With V(stop) and V(cpu), containers with the label C(ia-homelab.gives-way-to-training) are stopped as well,
            such as LLaMA-Factory's own API of the Compose stack.
          - The service that runs Ollama is detected on the host, and stopping it requires the necessary permissions. If
            it cannot be stopped, the log of the job reports that, and its models are unloaded.
        type: str
        choices: [unload, stop, cpu, share]
        default: unload
      docker_host:
        description: Address of the Docker Engine, if it differs from the default.
        type: str
      gpus:
        description:
          - GPUs of a training container. V(all), or comma-separated indexes, UUIDs or CDI names such as
            V(nvidia.com/gpu=0).
        type: str
        default: all
      memory_limit:
        description: Memory limit of a container including swap, such as V(24g). No limit by default.
        type: str
      cpus:
        description: Limit of processors of a container. No limit by default.
        type: float
      shm_size:
        description: Size of C(/dev/shm) in a container.
        type: str
        default: 8g
      container_user:
        description:
          - C(UID:GID) in containers. By default the user that runs the jobs, the owner of O(data_dir). Another user is
            refused where root owns it.
        type: str
      mounts:
        description:
          - Additional host directories to mount in containers at the same path; the suffix C(:ro) makes a mount
            read-only.
        type: list
        elements: str
        default: []
  runner:
    description:
      - How training, merging and conversion run. V(docker) uses a container for each job, V(process) a process from
        the virtual environments.
      - V(auto) selects V(docker) if O(toolchain) names an image, else V(process).
    type: str
    default: auto
  ollama_url:
    description:
      - Base URL of the Ollama server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
  token_file:
    description:
      - File on the host with the Hugging Face token, for gated base models. Only the user of the jobs needs read
        access.
    type: path
"""

    #: Device for the planning of a declaration.
    ACCELERATOR = r"""
options:
  accelerator:
    description:
      - Device that trainings run on. V(auto) selects V(cuda) if there is an NVIDIA GPU.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
"""

    #: Datasets that a declaration refers to.
    DATASETS = r"""
options:
  datasets:
    description:
      - Results of the module M(ia_homelab.llamafactory.dataset) in check mode, by the name of the dataset. Required for
        datasets that are not published yet.
    type: dict
    default: {}
"""

    DOCUMENTATION = r"""
options:
  runs:
    description:
      - Runs that an earlier task with the module M(ia_homelab.llamafactory.job) has returned as RV(ignore:runs). Their
        steps are followed, and no new run is submitted.
    type: list
    elements: dict
  wait:
    description:
      - Follow the run to its end and show its progress.
      - The run itself continues if this is V(false) or the connection is lost.
    type: bool
    default: true
  timeout:
    description:
      - Stop following after this many seconds. The run continues, and the next execution of the task attaches to it.
      - Without it, there is no limit.
    type: float
"""
