"""Under MAILHEARTH_TEST_NO_SKIPS=1 a skipped test is a failure, as is a module skipped whole.

For runs that promise to have all that tests need. Named in pyproject.toml with `-p noskips`.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

SWITCH = "MAILHEARTH_TEST_NO_SKIPS"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse(report)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get(SWITCH) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{SWITCH}=1 allows no skipped test, and this one was. {reason}"
