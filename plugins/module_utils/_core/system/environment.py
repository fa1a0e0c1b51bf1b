# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that jobs inherit."""

from __future__ import annotations

import os

_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("CUDA_", "NVIDIA_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HF_ENDPOINT")


def clean_environment() -> dict[str, str]:
    """Return the environment variables that jobs inherit. An allowlist keeps secrets out."""
    inherited = {}
    for name, value in os.environ.items():
        if (
            name in _INHERITED
            or name in _CERTIFICATES
            or name.lower() in _PROXIES
            or name.startswith(_INHERITED_PREFIXES)
        ):
            inherited[name] = value
    inherited.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    inherited.setdefault("HOME", os.path.expanduser("~"))
    inherited["PYTHONDONTWRITEBYTECODE"] = "1"
    return inherited
