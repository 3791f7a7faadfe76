"""What must hold of the checkout itself: its layout, its layers, its wheel, its documents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "mailhearth_core": "core",
    "mailhearth_operator": "operator",
    "mailhearth_web": "webapp",
    "mailhearth_worker": "worker",
    "mailhearth_local": "local",
}
MAX_LINES = 400
LONGER = {
    "tests/support/dovecot.py",  # two thirds of it is Dovecot's configuration
}


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """Runs a program that must succeed; returns what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def repository_files() -> list[Path]:
    """Every file that is or would be tracked; without git, all but caches."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        hidden = {".venv", "__pycache__", ".git", "build", "dist"}
        paths = [p for p in ROOT.rglob("*") if not hidden & set(p.relative_to(ROOT).parts)]
        paths = [p for p in paths if not re.search(r"/\.\w+_cache/|/\.hypothesis/", str(p))]
    return [path for path in paths if path.is_file()]


# -- layout and layers ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted(PACKAGES.values()))
def test_a_source_root_is_no_package(folder: str) -> None:
    # operator/__init__.py above all: it would hide the standard library's `operator`.
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_package_among_the_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_import_contracts_are_kept() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    assert "0 broken" in run(lint_imports, "--no-cache")


def test_modules_stay_small() -> None:
    inside = (*PACKAGES.values(), "scripts", "tests/support")
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in inside
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name for name, lines in sizes.items() if lines > MAX_LINES} - LONGER == set()
    assert [name for name in LONGER if sizes.get(name, 0) <= MAX_LINES] == [], (
        "no longer an exception"
    )


# -- importing does nothing -------------------------------------------------------------------

IMPORT_ALL = """
import importlib, os, pkgutil, sys, threading

names = []
for root in sys.argv[1:]:
    names.append(root)
    found = pkgutil.walk_packages(importlib.import_module(root).__path__, root + ".")
    names += [m.name for m in found if not m.name.endswith("__main__")]
for name in names:  # once unguarded, so that what others' packages do is done
    importlib.import_module(name)
for name in [n for n in sys.modules if n.startswith("mailhearth_")]:
    del sys.modules[name]

FORBIDDEN = {"socket.__new__", "socket.connect", "socket.bind", "subprocess.Popen", "os.system",
             "os.fork", "os.exec", "os.posix_spawn", "os.mkdir", "os.remove", "os.rename",
             "os.chmod", "os.chown", "os.putenv", "signal.pthread_kill", "sqlite3.connect"}
guarding = True

def watch(event, arguments):
    if not guarding:
        return
    if event in FORBIDDEN:
        raise PermissionError(f"{event}{arguments}")
    if event == "open":
        path, _, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and "__pycache__" not in str(path):
            raise PermissionError(f"writes {path}")

class Silent:
    def write(self, text):
        raise PermissionError(f"prints {text!r}")
    def flush(self):
        pass

def environment_read(self, key, _read=type(os.environ).__getitem__):
    if key.startswith(("MAILHEARTH_", "DATABASE_URL", "REDIS_URL")):
        raise PermissionError(f"reads the environment: {key}")
    return _read(self, key)

type(os.environ).__getitem__ = environment_read
sys.addaudithook(watch)
out, sys.stdout, sys.stderr = sys.stdout, Silent(), Silent()
threads = threading.active_count()
failed = []
for name in names:
    try:
        importlib.import_module(name)
    except PermissionError as error:
        failed.append(f"{name}: {error}")
guarding = False
if threading.active_count() != threads:
    failed.append("a thread was started")
out.write("\\n".join(failed) + f"\\n{len(names)} modules, {len(failed)} that do something\\n")
out.flush()
"""


def test_importing_a_module_does_nothing(tmp_path: Path) -> None:
    said = run(sys.executable, "-c", IMPORT_ALL, *PACKAGES, cwd=tmp_path)
    count, failed = map(int, re.findall(r"(\d+) modules, (\d+) that", said)[0])
    assert failed == 0, said
    assert count > len(PACKAGES)


def test_what_an_import_must_not_do_is_noticed(tmp_path: Path) -> None:
    package = tmp_path / "mailhearth_rude"
    package.mkdir()
    deeds = {
        "__init__": "",
        "env": "import os; os.environ.get('MAILHEARTH_DATA')",
        "files": f"open({str(tmp_path / 'made')!r}, 'w').close()",
        "net": "import socket; socket.socket().close()",
        "prints": "print('hello')",
        "threads": "import threading; threading.Thread(target=threading.Event().wait,"
        " daemon=True, name=str(id({}))).start()",
    }
    for name, code in deeds.items():
        (package / f"{name}.py").write_text(code)
    said = run(
        sys.executable, "-c", IMPORT_ALL, package.name, cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    for name in ("env", "files", "net", "prints"):
        assert f"mailhearth_rude.{name}: " in said
    assert "a thread was started" in said


# -- the wheel --------------------------------------------------------------------------------


def test_the_wheel_holds_the_five_packages_and_all_their_files(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is missing: make install")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {
        *PACKAGES,
        f"mailhearth-{distribution('mailhearth').version}.dist-info",
    }
    sources = {
        str(path.relative_to(ROOT / folder))
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # The package's folder of definitions is a link, which rglob does not follow.
    sources |= {f"mailhearth_operator/crds/{path.name}" for path in (ROOT / "crds").iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == sources
    kinds = {Path(name).suffix for name in sources}
    assert {".py", ".sql", ".typed"} <= kinds
    assert all(f"{package}/py.typed" in names for package in PACKAGES)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


# -- documents --------------------------------------------------------------------------------


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_leads_with_the_two_commands_that_do_everything() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in ("make demo", "make test"):
        assert re.search(rf"^{command}\b", readme, re.MULTILINE), f"README lacks `{command}`"


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = make_targets()
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / ".ci" / "run"]
    for page in pages:
        named = re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)\b", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page.name
    listed = run("make", "--no-print-directory", "help")
    assert set(re.findall(r"^make ([\w-]+)", listed, re.MULTILINE)) == targets


def test_every_local_link_of_a_document_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


# -- what no file may name --------------------------------------------------------------------

FOREIGN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.~-])/(?:work|root|home/\w+|Users/\w+)/"),
    "a package registry": re.compile(
        "|".join(
            re.escape(host)
            for host in (
                "pypi" + ".org",
                "files.pythonhosted" + ".org",
                "registry.npmjs" + ".org",
                "--index" + "-url http",
                "--extra-index" + "-url http",
            )
        )
    ),
}


def test_no_file_names_a_machine_or_a_registry() -> None:
    files = repository_files()
    assert ROOT / "pyproject.toml" in files
    found = []
    for path in files:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)} names {what}: {match.group(0)}"
            for what, pattern in FOREIGN.items()
            if (match := pattern.search(text))
        ]
    assert found == []


@pytest.mark.parametrize(
    ("name", "some", "none"),
    [
        ("requirements.lock", {"psycopg", "pytest", "ruff", "hatchling", "uv"}, set()),
        # The image's: what the product needs at run time, and nothing of the checks.
        ("requirements-image.lock", {"psycopg", "flask", "rq"}, {"pytest", "ruff", "uv"}),
        ("scripts/requirements-build.lock", {"hatchling", "cyclonedx-python-lib"}, {"pytest"}),
    ],
)
def test_every_locked_requirement_has_hashes_and_none_an_address(
    name: str, some: set[str], none: set[str]
) -> None:
    lock = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", lock.strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in lock
    versions = {re.split(r"[=\s;]", entry)[0]: entry.partition(" ")[0] for entry in entries}
    assert some <= versions.keys()
    assert not none & versions.keys()
    whole = set((ROOT / "requirements.lock").read_text().split())
    assert set(versions.values()) <= whole  # the versions that were tested
