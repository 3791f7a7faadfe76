"""Looks the locked dependencies up in the public vulnerability database; writes their SBOM.

Exit codes: 0 nothing known, 1 vulnerabilities found, 2 the audit itself failed, 3 the database is
out of reach; make turns each into its own 2 and prints the number. The SBOM (`sbom.cdx.json`) is
written in every case.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from pathlib import Path

from sbom import bill, locked

ROOT = Path(__file__).resolve().parent.parent
CLEAN, VULNERABLE, FAILED, OUT_OF_REACH = 0, 1, 2, 3
_NETWORK_WORDS = ("ConnectionError", "Timeout", "ProxyError", "SSLError", "HTTPError", "network")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--sbom", type=Path, default=ROOT / "sbom.cdx.json")
    parser.add_argument("--osv-url", help="a mirror of the OSV database's query address")
    options = parser.parse_args()
    options.sbom.write_text(bill(options.lock) + "\n")
    print(f"audit: {len(locked(options.lock))} locked packages written to {options.sbom.name}")
    return look_up(options.lock, options.osv_url)


def look_up(lock: Path, osv_url: str | None) -> int:
    """Asks the OSV database for every locked version and prints what it knows.

    The package index's own advisories are not used: an index mirror that has none answers as if
    nothing were known.
    """
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), "-s", "osv", "-f", "json"]
    command += ["--disable-pip", "--no-deps", "--require-hashes", "--progress-spinner", "off"]
    command += ["--osv-url", osv_url] if osv_url else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = None
    if packages is None and done.returncode == 0:
        packages = []  # it prints no list when all is well
    if packages is None:
        return _explain(done.stderr)
    skipped = [p for p in packages if "skip_reason" in p]
    affected = [p for p in packages if p.get("vulns")]
    for package in affected:
        for found in package["vulns"]:
            names = ", ".join([found["id"], *found.get("aliases", [])])
            fixes = ", ".join(found.get("fix_versions", [])) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {names}; fixed in {fixes}")
    for package in skipped:
        print(f"audit: {package['name']} was not audited: {package['skip_reason']}")
    if affected:
        print(f"audit: {len(affected)} locked packages have known vulnerabilities")
        return VULNERABLE
    if skipped:
        return FAILED
    print("audit: no known vulnerabilities in the locked packages")
    return CLEAN


def _explain(errors: str) -> int:
    last = textwrap.shorten(errors.strip().rpartition("\n")[2], 160)
    if any(word in errors for word in _NETWORK_WORDS):
        print(f"audit: the vulnerability database is out of reach, nothing was looked up: {last}")
        return OUT_OF_REACH
    print(f"audit: pip-audit failed:\n{errors.strip()}")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
