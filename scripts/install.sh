#!/bin/sh
# Makes .venv and installs the locked dependencies and this checkout into it.
#
#   PYTHON=python3.12   the interpreter to use; without it, the first found that is 3.11 or newer
#
# Nothing is installed whose hash is not in requirements.lock. Everything that pip is told about an
# index (its configuration, PIP_INDEX_URL) holds for uv too, so a mirror needs no second setting.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
WANTED='import sys; sys.exit(sys.version_info < (3, 11))'

fail() {
    echo "install: $*" >&2
    exit 1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c "$WANTED" 2>/dev/null || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
        echo "$PYTHON"
        return
    fi
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c "$WANTED" 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer found: apt-get install python3.11 python3.11-venv, or set PYTHON="
}

# Debian and Ubuntu keep ensurepip, which a new environment needs, in a package of its own.
ensure_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "install: installing $package, which $1 needs to make an environment"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$package"; } \
            >/dev/null || fail "apt-get could not install $package: install it by hand"
        "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    fi
    fail "$1 cannot make a virtual environment: apt-get install $package"
}

# An environment whose interpreter has gone, or was moved with its folder, is made anew.
if ! "$VENV/bin/python" -c "$WANTED" 2>/dev/null || ! "$VENV/bin/python" -m pip --version \
    >/dev/null 2>&1; then
    python=$(find_python)
    ensure_venv "$python"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
fi

pip="$VENV/bin/python -m pip --disable-pip-version-check"

# uv installs in seconds what takes pip a minute; it is itself locked.
if ! "$VENV/bin/uv" --version 2>/dev/null | grep -qF "$(sed -n 's/^uv==\([^ ]*\).*/uv \1/p' requirements.lock)"; then
    sed -n '/^uv==/,/[^\\]$/p' requirements.lock >"$VENV/uv.lock"
    $pip install -q --require-hashes --no-deps -r "$VENV/uv.lock"
fi

index=$($pip config get global.index-url 2>/dev/null || true)
index=${PIP_INDEX_URL:-$index}
if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    export UV_DEFAULT_INDEX="$index"
fi
UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
VIRTUAL_ENV="$PWD/$VENV"
export UV_SYSTEM_CERTS VIRTUAL_ENV

# Where uv finds no way (a proxy that only pip knows), pip does the same, more slowly.
"$VENV/bin/uv" pip install -q --require-hashes -r requirements.lock ||
    $pip install -q --require-hashes -r requirements.lock
"$VENV/bin/uv" pip install -q --no-deps --no-build-isolation --offline -e . ||
    $pip install -q --no-deps --no-build-isolation --no-index -e .

touch "$VENV/installed"
