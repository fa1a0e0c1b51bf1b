# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put Ollama among the tools: ``install_ollama.py archive|go``, the components on standard input.

``archive`` fetches the official archive; ``go`` builds the CPU engine from the Go module.
Prints ``{"changed": bool, "path": …, "seconds": …}``; what went wrong goes to standard error,
exit 1, or 75 where the archive cannot be had from here and building is worth a try.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from workshop import Failed, Workshop

EX_TEMPFAIL = 75
TIMEOUT = 30
CHUNK = 1 << 20


class Unavailable(Failed):
    """The archive cannot be had from here."""


def from_archive(shop: Workshop, work: Path) -> None:
    archive = shop.spec["archive"]
    shop.need_space(6)
    packed = work / "archive"
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(archive["url"], timeout=TIMEOUT) as answer, packed.open("wb") as stream:
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                stream.write(chunk)
    except (OSError, ValueError) as error:
        raise Unavailable(f"{archive['url']} cannot be downloaded: {getattr(error, 'reason', error)}") from None
    if digest.hexdigest() != archive["sha256"]:
        raise Failed(f"{archive['url']} has the sha256 {digest.hexdigest()}, and {archive['sha256']} is expected.")
    result = work / "result"
    result.mkdir()
    if archive["url"].endswith(".zst"):
        import zstandard  # in the builder's environment, whose interpreter runs this

        with (
            packed.open("rb") as stream,
            zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True) as plain,
        ):
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                _extract(tar, result)
    else:
        with tarfile.open(packed) as tar:
            _extract(tar, result)
    packed.unlink()


def _extract(tar: tarfile.TarFile, path: Path) -> None:
    # Its sha256 is pinned, so what is inside is known; the filter keeps owners and odd modes out.
    if hasattr(tarfile, "tar_filter"):
        tar.extractall(path, filter="tar")
    else:
        tar.extractall(path)


def from_go(shop: Workshop, work: Path) -> None:
    shop.need_space(4)
    version = shop.spec["version"]
    go = shop.spec["go"]
    folders = {"GOBIN": work / "result/bin", "GOPATH": work / "path", "GOCACHE": work / "cache"}
    environment = {name: str(folder) for name, folder in folders.items()}
    # Headers of llama.cpp's own vendored libraries, which a Go module cannot carry.
    environment["CGO_CPPFLAGS"] = f"-I{shop.spec['components']['headers']['path']}"
    # What Go would say where nothing is set, without -g: the linker drops what that is for.
    environment.update({name: os.environ.get(name, "-O2") for name in ("CGO_CFLAGS", "CGO_CXXFLAGS")})
    # Modules are written read-only by default, which would outlive an attempt to remove them.
    environment["GOFLAGS"] = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    if go["toolchain"]:
        environment["GOTOOLCHAIN"] = go["toolchain"]
    shop.run(
        [
            *(go["path"], "install", "-trimpath"),
            *("-ldflags", f"-s -w -X github.com/ollama/ollama/version.Version={version}"),
            f"github.com/ollama/ollama@v{version}",
        ],
        f"Building Ollama {version}",
        **environment,
    )


def _check(shop: Workshop, result: Path) -> None:
    answer = shop.run([result / "bin/ollama", "--version"], "Checking ollama", OLLAMA_HOST="127.0.0.1:1")
    if shop.spec["version"] not in answer:
        raise Failed(f"This ollama is another version than {shop.spec['version']}: {answer.strip()}")


MAKERS = {"archive": from_archive, "go": from_go}


def main() -> int:
    method = sys.argv[1]
    shop = Workshop(json.load(sys.stdin), "ollama")
    started = time.monotonic()
    os.nice(5)
    work = shop.tools / f".work-{shop.path.name}"
    try:
        with shop.locked():
            # Another play may have made it while this one waited for the lock.
            changed = not shop.whole()
            if changed:
                shop.clear(work)
                work.mkdir()
                try:
                    MAKERS[method](shop, work)
                    _check(shop, work / "result")
                    shop.mark(work / "result", started, method=method)
                    shop.publish(work / "result")
                finally:
                    # Gigabytes, and nothing that the next attempt could use.
                    shop.clear(work)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return EX_TEMPFAIL
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; the log is {shop.log}", file=sys.stderr)
        return 1
    print(json.dumps({"changed": changed, "path": str(shop.path), "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
