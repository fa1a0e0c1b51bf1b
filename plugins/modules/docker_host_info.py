#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_host_info
short_description: Report what a host has for containers with GPUs
version_added: 0.1.0
description:
  - Reports the operating system, NVIDIA GPUs and their driver, installed packages, the Docker engine, Compose and the
    NVIDIA Container Toolkit. Everything may be missing.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  packages:
    description:
      - Names of Debian packages to look for.
    type: list
    elements: str
    default: []
  pins:
    description:
      - Version that a package has to have, or a pattern such as V(5:29.1.*), by its name. Empty for any.
    type: dict
    default: {}
  record:
    description:
      - File in which the role nvidia_docker has recorded the packages that it installed.
    type: path
  apt_repositories:
    description:
      - Repositories to look for in the sources of apt, by a name for each. A repository has the C(path) of the source
        and the C(key) that the role nvidia_docker writes, the C(text) of that source, the C(uri) and the C(suite) for
        this system, and its C(components).
    type: dict
    default: {}
  images:
    description:
      - Names of images to look for in the engine.
    type: list
    elements: str
    default: []
  repositories:
    description:
      - Repositories, such as V(ia-homelab/llamafactory), whose images are listed.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
seealso:
  - module: ia_homelab.llamafactory.docker_daemon_config
  - module: ia_homelab.llamafactory.gpu_info
"""

EXAMPLES = r"""
- name: Look for Docker
  ia_homelab.llamafactory.docker_host_info:
    packages: [docker-ce, docker-compose-plugin]
    pins: {docker-ce: "5:29.1.*"}
  register: docker

- name: Install what is missing
  ansible.builtin.apt:
    name: "{{ docker.missing }}"
"""

RETURN = r"""
system:
  description: The operating system.
  returned: success
  type: dict
  contains:
    id:
      description: Its short name.
      type: str
      sample: debian
    version:
      description: Its version.
      type: str
      sample: "13"
    codename:
      description: The name of this version.
      type: str
      sample: trixie
    name:
      description: Its full name.
      type: str
      sample: Debian GNU/Linux 13 (trixie)
user_is_root:
  description: Whether the module runs as root.
  returned: success
  type: bool
  sample: true
systemd:
  description: Whether systemd is the init of the host.
  returned: success
  type: bool
  sample: true
gpus:
  description: NVIDIA's display controllers on the PCI bus, with or without a driver.
  returned: success
  type: list
  elements: dict
  contains:
    slot:
      description: Address on the bus.
      type: str
      sample: "0000:01:00.0"
    device:
      description: Number of the product.
      type: str
      sample: "0x2684"
driver:
  description: The NVIDIA driver.
  returned: success
  type: dict
  contains:
    version:
      description: Version of the loaded kernel module; empty if none is loaded.
      type: str
      sample: 580.95.05
    installed:
      description: Whether a module for the running kernel is on the disk.
      type: bool
      sample: true
    secure_boot:
      description: Whether Secure Boot makes the kernel refuse unsigned modules.
      type: bool
      sample: false
    error:
      description: What C(nvidia-smi) prints if it fails.
      type: str
      sample: ""
installed:
  description: Version of each of O(packages) that is installed, by name.
  returned: success
  type: dict
  sample: {docker-ce: "5:29.1.3-1"}
missing:
  description: Those of O(packages) that are missing or have another version than in O(pins), as arguments of apt.
  returned: success
  type: list
  elements: str
  sample: [docker-compose-plugin]
engines:
  description: The packages of the Docker engine that are installed, C(docker-ce) or C(docker.io).
  returned: success
  type: list
  elements: str
  sample: [docker-ce]
engine_packages:
  description: Version of each of these packages, by name.
  returned: success
  type: dict
  sample: {docker-ce: "5:29.1.3-1~debian.13~trixie"}
engine:
  description: The Docker engine.
  returned: success
  type: dict
  contains:
    version:
      description: Its version; empty if there is none, or it does not answer.
      type: str
      sample: 29.1.3
    compose:
      description: Version of Compose v2; empty if it is not installed.
      type: str
      sample: 2.40.3
    swarm:
      description: Whether it is part of a swarm.
      type: bool
      sample: false
    jobs:
      description: Names of the running containers of jobs.
      type: list
      elements: str
      sample: []
    other_containers:
      description: Names of the containers, also stopped ones, that do not belong to this collection.
      type: list
      elements: str
      sample: [homeassistant]
toolkit:
  description: Version of the NVIDIA Container Toolkit; empty if it is not installed.
  returned: success
  type: str
  sample: 1.20.2
cdi_devices:
  description: The NVIDIA devices that are described for CDI.
  returned: success
  type: list
  elements: str
  sample: [nvidia.com/gpu=all]
cdi_driver:
  description:
    - Version of the driver whose files C(/etc/cdi/nvidia.yaml) names; empty if it names none. With another driver,
      containers do not start.
  returned: success
  type: str
  sample: 580.95.05
recorded_packages:
  description: The packages in O(record).
  returned: success
  type: list
  elements: str
  sample: [docker-ce]
record_is_legacy:
  description:
    - Whether O(record) was begun by a version of the role that did not record its changes of C(daemon.json).
  returned: success
  type: bool
  sample: false
apt_sources:
  description: What the sources of apt have of each of O(apt_repositories), by name.
  returned: success
  type: dict
  contains:
    source:
      description: File and line of a source of another owner that has the repository; empty if there is none.
      type: str
      sample: /etc/apt/sources.list.d/docker.list:1
    suite:
      description: The suite of that source.
      type: str
      sample: trixie
    own:
      description: Whether the role has written its source.
      type: bool
      sample: false
    beside:
      description: A source of another owner beside which the role's cannot stay; empty if there is none.
      type: str
      sample: ""
    key_used:
      description: Whether a source of another owner uses the file of the role's key.
      type: bool
      sample: false
    problem:
      description: Why the role can neither use a source that is there nor write one; empty if it can.
      type: str
      sample: ""
images:
  description: Id of each of O(images) by its name; empty where the engine does not have it.
  returned: success
  type: dict
  sample: {"ollama/ollama:0.32.15": ""}
repository_images:
  description: Ids of all images of O(repositories).
  returned: success
  type: list
  elements: str
  sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import docker_host


def inspect(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    record = params["record"] or ""
    legacy = docker_host.record_is_legacy(record)
    return {
        "changed": False,
        **docker_host.host(params["packages"], params["pins"]),
        "recorded_packages": docker_host.recorded_packages(record),
        "record_is_legacy": legacy,
        "apt_sources": docker_host.apt_sources(params["apt_repositories"], legacy),
        "images": docker_host.image_ids(params["images"]),
        "repository_images": docker_host.images_of(params["repositories"]),
    }


def main() -> None:
    run_module(
        {
            "packages": {"type": "list", "elements": "str", "default": []},
            "pins": {"type": "dict", "default": {}},
            "record": {"type": "path"},
            "apt_repositories": {"type": "dict", "default": {}},
            "images": {"type": "list", "elements": "str", "default": []},
            "repositories": {"type": "list", "elements": "str", "default": []},
        },
        inspect,
    )


if __name__ == "__main__":
    main()
