# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that decide which directories the toolchain consists of."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules toolchain and toolchain_info."""

    DOCUMENTATION = r"""
options:
  tools_dir:
    description:
      - Directory of all components. Each has a directory below it that is named after everything that decides its
        content.
      - If it is not set, C(tools) in O(llamafactory_data_dir), unless root runs the module and there are no tools yet;
        then C(/opt/ia-homelab/tools).
      - If root runs the module and the directory belongs to another user, the module works as that user. A directory of
        root that another user can replace is refused.
    type: path
  llamafactory_data_dir:
    description:
      - Directory of models, datasets, outputs and jobs. It decides about O(tools_dir) if that is not set.
    type: path
  components:
    description:
      - The components that have to be installed. V(builder) makes the others and is added where it is needed.
      - V(llamafactory) is the environment of LLaMA-Factory, V(converter) that of llama.cpp's converter, V(llama_cpp)
        holds the converter, C(llama-quantize), C(llama-tokenize), C(llama-imatrix) and C(llama-perplexity).
      - V(llama_server) holds the programs that Ollama 0.30 and later runs, V(headers) what older ones are built with.
        The build of V(llama_server) also makes V(llama_cpp), if it is missing.
    type: list
    elements: str
    choices: [builder, converter, llamafactory, llama_server, llama_cpp, headers]
    default: [llamafactory, converter, llama_cpp]
  pins:
    description:
      - The pinned packages of each lock file, as C(name==version) separated by blanks. They are a part of the names of
        the directories.
    type: dict
    required: true
    suboptions:
      builder:
        description: Packages of the builder.
        type: str
        required: true
      llamafactory:
        description: Packages of the environment of LLaMA-Factory.
        type: str
        required: true
      cuda:
        description: Further packages of this environment with V(cuda).
        type: str
        required: true
      deepspeed:
        description: Further packages of this environment with O(deepspeed).
        type: str
        required: true
      converter:
        description: Packages of the converter's environment.
        type: str
        required: true
      llama_cpp:
        description: The source of llama.cpp, with its hash.
        type: str
        required: true
  python:
    description:
      - Interpreter of the two environments, Python 3.11, 3.12 or 3.13. Empty to choose one; installed environments take
        precedence.
    type: str
    default: ""
  python_from:
    description:
      - Where the interpreter comes from. V(uv) installs one below O(tools_dir).
    type: str
    choices: [host, uv]
    default: host
  accelerator:
    description:
      - What trainings run on. V(auto) is V(cuda) if the host has an NVIDIA GPU, with or without a driver.
    type: str
    choices: [auto, cuda, cpu]
    default: auto
  deepspeed:
    description:
      - Whether the environment of LLaMA-Factory contains DeepSpeed.
    type: bool
    default: false
  torch_index_url:
    description:
      - Package index with other builds of PyTorch. Empty for the usual index. Only C(torch), C(torchvision) and
        C(torchaudio) come from it.
    type: str
    default: ""
"""
