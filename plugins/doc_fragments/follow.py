# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that start detached work on the host and follow it."""

from __future__ import annotations


class ModuleDocFragment:
    """Where things lie, where the tools are, and how long to wait."""

    #: Where things are on the host.
    HOST = r"""
options:
  data_dir:
    description:
      - The directory on the host under which models, datasets, outputs and jobs lie.
      - The roles and playbooks set it from C(llamafactory_data_dir).
      - It must be absolute and must not hold blanks.
    type: path
    required: true
  toolchain:
    description:
      - Where the tools are on the host. The role C(ia_homelab.llamafactory.llamafactory) installs them and sets
        C(llamafactory_toolchain).
      - Not part of what a result is known by.
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
        description: Image with LLaMA-Factory that the host's Docker Engine has. Trainings and merges run in it.
        type: str
      llama_cpp_image:
        description:
          - Image with llama.cpp and its converter. GGUF files are made in it, on the host itself without it.
        type: str
      image_path:
        description:
          - Directories inside of the images, with colons between, to look for programs in before those of their own
            C(PATH).
        type: str
      image_llama_cpp_dir:
        description:
          - Directory inside of the image with C(convert_hf_to_gguf.py), and the programs beside it or under C(bin).
        type: str
        default: /app
      ollama_while_training:
        description:
          - What Ollama does while a training has the GPU. V(unload) takes its models out of memory before, and it loads
            one again when it is asked for it. V(stop) has it stopped, V(cpu) has it go on without a GPU; either way it
            runs again as before when the training has ended. V(share) leaves it alone.
          - With V(stop) and V(cpu), containers with the label C(ia-homelab.gives-way-to-training) are stopped as well,
            such as LLaMA-Factory's own API of the Compose stack.
          - What runs it is found on the host, and stopping it takes the rights to do so. Where it cannot be stopped,
            that is said in the log of the job, and its models are unloaded.
        type: str
        choices: [unload, stop, cpu, share]
        default: unload
      docker_host:
        description: Address of the Docker Engine, if it is not the default one.
        type: str
      gpus:
        description:
          - GPUs of a container that trains on one. V(all), indexes or UUIDs with commas between, or CDI names such as
            V(nvidia.com/gpu=0).
        type: str
        default: all
      memory_limit:
        description: Most memory of a container, such as V(24g), swap included. No limit by default.
        type: str
      cpus:
        description: Most processors of a container. No limit by default.
        type: float
      shm_size:
        description: Size of C(/dev/shm) in a container.
        type: str
        default: 8g
      container_user:
        description:
          - C(UID:GID) in containers. By default whoever runs the jobs, or when that is root, the owner of O(data_dir).
        type: str
      mounts:
        description:
          - More directories of the host that containers see at their own path, with C(:ro) at the end only to read.
        type: list
        elements: str
        default: []
  runner:
    description:
      - What runs training, merging and conversion. V(docker) is a container for each job, V(process) a process from
        the virtual environments.
      - V(auto) is V(docker) where O(toolchain) names an image, else V(process).
    type: str
    choices: [auto, docker, process]
    default: auto
  ollama_url:
    description:
      - Base URL of the Ollama server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
  token_file:
    description:
      - File on the host that holds the Hugging Face token, for gated base models. Only the user of the jobs needs to
        be able to read it.
    type: path
"""

    #: What a declaration is planned with.
    ACCELERATOR = r"""
options:
  accelerator:
    description:
      - What trainings run on. V(auto) looks for an NVIDIA GPU.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
"""

    #: Datasets that a declaration names.
    DATASETS = r"""
options:
  datasets:
    description:
      - What the module M(ia_homelab.llamafactory.dataset) has told in check mode, by the dataset's name. Needed for
        those that are not published yet.
    type: dict
    default: {}
"""

    DOCUMENTATION = r"""
options:
  runs:
    description:
      - What an earlier task with the module M(ia_homelab.llamafactory.job) has returned as RV(ignore:runs). Their steps
        are followed then, and nothing new is asked for.
    type: list
    elements: dict
  wait:
    description:
      - Follow the work to its end, and show how far it is.
      - The work itself goes on when this is V(false), and when the connection is lost.
    type: bool
    default: true
  timeout:
    description:
      - Give up following after this many seconds. The work goes on, and the next run of the task attaches to it.
      - Without it, there is no limit.
    type: float
"""
