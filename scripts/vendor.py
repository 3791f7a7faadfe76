"""Fetches the browser's files from npm at pinned versions, or checks those in the checkout.

    python scripts/vendor.py            fetch, verify against npm's digests, write, record digests
    python scripts/vendor.py --check    verify the files against the recorded digests; no network

It asks the `npm` client. A package's tarball must have the digest that is written here, so that a
changed one is noticed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "webapp" / "mailhearth_web" / "static" / "vendor"
DIGESTS = "digests.json"

ICONS = (
    "activity", "adjustments", "alert-circle", "alert-triangle", "arrow-back-up", "arrow-down",
    "arrow-left", "arrow-up", "arrows-sort", "at", "ban", "bell", "bolt", "brand-gmail",
    "brand-google", "brand-windows", "building", "bulb", "calendar", "certificate", "chart-line",
    "check", "chevron-down", "chevron-left", "chevron-right", "chevron-up", "circle-check",
    "circle-dashed", "circle-minus", "circle-x", "clock", "copy", "database", "device-desktop",
    "dots", "dots-vertical", "download", "external-link", "eye", "eye-off", "file-export",
    "file-import", "file-text", "filter", "flag", "flame", "folder", "gauge", "heartbeat", "help",
    "history", "home", "hourglass", "inbox", "info-circle", "key", "layout-dashboard", "link",
    "list", "list-check", "lock", "lock-open", "login", "logout", "mail", "mail-check", "mail-off",
    "mail-plus", "menu-2", "message-reply", "moon", "notes", "pencil", "player-pause",
    "player-play", "plug-connected", "plus", "point", "progress", "refresh", "search", "send",
    "server", "settings", "shield", "shield-check", "shield-lock", "sort-ascending",
    "sort-descending", "stack-2", "sun", "switch-horizontal", "table", "tag", "target", "test-pipe",
    "trash", "upload", "user", "user-minus", "user-plus", "users", "world", "x",
)  # fmt: skip
"""Those that templates use, by the names of https://tabler.io/icons."""
SPRITE = "icons.svg"


@dataclass(frozen=True)
class Package:
    """An npm package, what is taken of it, and under which name."""

    name: str
    version: str
    integrity: str
    files: dict[str, str] = field(default_factory=dict)


PACKAGES = (
    Package(
        "@tabler/core",
        "1.6.1",
        "sha512-lgmR9gcxRp5JlLxcmRi9Rz85JrEvH6Bz71KnlcPVSa97wtwQNjgSs3g3fxwbAlulHyRMghhIV04QUuW3pqDsIg==",
        {"dist/css/tabler.min.css": "tabler.min.css"},
    ),
    Package(
        "@tabler/icons",
        "3.52.0",
        "sha512-dldKlJNfO/gZnGLcIY0X2EFFKIMGwL/rEvTqglvBgAPFiwj9pZOCN5V3Sf0Gyjq6foX4VQmLdOmsS4w5FdWKAw==",
        {"LICENSE": "LICENSE.tabler-icons"},
    ),
    Package(
        "htmx.org",
        "2.0.11",
        "sha512-Thx/WtpeOQqSrqBCw/A1cwGJGg4UrVa3+sW0GmrM3p4gJgO89ecH4qtbnyzDDWFvBTqjnIMCgELTNt636dtamA==",
        {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "LICENSE.htmx"},
    ),
    Package(
        "uplot",
        "1.6.32",
        "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {
            "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
            "dist/uPlot.min.css": "uPlot.min.css",
            "LICENSE": "LICENSE.uPlot",
        },
    ),
)


def fetch(package: Package) -> dict[str, bytes]:
    """A package's files by path; raises SystemExit when the tarball is another than pinned."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed to fetch; --check works without it.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [npm, "pack", "--silent", f"{package.name}@{package.version}"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (path,) = Path(folder).glob("*.tgz")
        tarball = path.read_bytes()
    digest = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if digest != package.integrity:
        sys.exit(f"{package.name} {package.version}: its digest is {digest}, not the pinned one.")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        for member in archive:
            reader = archive.extractfile(member)
            if reader is not None:
                files[member.name.partition("/")[2]] = reader.read()
    return files


def sprite(files: dict[str, bytes]) -> bytes:
    """The icons as symbols of one SVG file, drawn in the colour of the text around them."""
    symbols = []
    for name in ICONS:
        source = files[f"icons/outline/{name}.svg"].decode()
        inner = re.sub(r"<svg[^>]*>|</svg>|<!--.*?-->", "", source, flags=re.DOTALL)
        inner = re.sub(r'<path stroke="none" d="M0 0h24v24H0z" fill="none" */>', "", inner)
        symbols.append(
            f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
            'stroke-width="2" stroke-linecap="round" stroke-linejoin="round">'
            f"{' '.join(inner.split())}</symbol>"
        )
    body = "\n".join(symbols)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{body}\n</svg>\n'.encode()


def collect() -> dict[str, bytes]:
    """All files of the folder but the record and the README, from npm."""
    result = {}
    for package in PACKAGES:
        files = fetch(package)
        result.update({target: files[source] for source, target in package.files.items()})
        if package.name == "@tabler/icons":
            result[SPRITE] = sprite(files)
    return result


def record(files: dict[str, bytes]) -> str:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    versions = {package.name: package.version for package in PACKAGES}
    return json.dumps({"packages": versions, "sha256": digests}, indent=1, sort_keys=True) + "\n"


def problems(folder: Path) -> list[str]:
    """What differs between the folder and its record; empty when nothing does."""
    known = json.loads((folder / DIGESTS).read_text())
    found = []
    if known["packages"] != {package.name: package.version for package in PACKAGES}:
        found.append("the pinned versions are not those that were fetched")
    present = {path.name for path in folder.iterdir()} - {DIGESTS, "README.md"}
    for name in sorted(present | known["sha256"].keys()):
        if name not in present:
            found.append(f"{name} is missing")
        elif name not in known["sha256"]:
            found.append(f"{name} is not recorded")
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != known["sha256"][name]:
            found.append(f"{name} was changed")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="verify the files; no network")
    if parser.parse_args(arguments).check:
        found = problems(FOLDER)
        for line in found:
            print(line)
        print(f"{FOLDER.relative_to(ROOT)}: {'not as recorded' if found else 'as recorded'}")
        return 1 if found else 0
    files = collect()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
    (FOLDER / DIGESTS).write_text(record(files))
    print(f"{len(files)} files in {FOLDER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
