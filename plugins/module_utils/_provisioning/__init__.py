# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provisioning of a host: the Python environments, llama.cpp, Ollama, and the state of Docker.

Standard library only, and independent of Ansible. Besides each other, the modules import the errors of the core; two of
them also its process identities, the address of Ollama and the label of the jobs' containers. So the build of a
container image copies this directory and the file with the errors (``build_llama_cpp``).
"""

from __future__ import annotations
