"""Each alert fires for what it is about, as Prometheus itself evaluates it, and not in health."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from helm import Json, rendered

JOB = 'job="mailhearth"'
Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """What Prometheus scraped, a value a minute in promtool's notation.

    Attributes:
        sick: what the alert is about.
        well: the same of an installation in health.
        at: when it is looked at; later than the alert's `for`.
        labels: of the alert, besides its severity.
    """

    sick: Series
    well: Series
    at: str = "30m"
    labels: Series = field(default_factory=dict)


def up(component: str) -> str:
    return f'up{{{JOB}, component="{component}", instance="a"}}'


def down(component: str) -> Case:
    return Case({up(component): "0x60"}, {up(component): "1x60"})


DUE, WORKERS = (
    f'mailhearth_pool_{name}{{{JOB}, namespace="%s", pool="sales"}}'
    for name in ("due_actions", "available_workers")
)
TICKS = f"mailhearth_tick_seconds_count{{{JOB}}}"
LATE = f"mailhearth_oldest_due_seconds{{{JOB}}}"
WAITING = f'mailhearth_queue_depth{{{JOB}, group="sales"}}'
RECLAIMED = f"mailhearth_lease_reclaims_total{{{JOB}}}"
FORGED = f"mailhearth_forged_jobs_total{{{JOB}}}"
JUNK, INBOX = (
    f'mailhearth_placement_total{{{JOB}, placement="{where}"}}' for where in ("junk", "inbox")
)
MAILBOXES = f'mailhearth_mailboxes{{{JOB}, instance="a", state="%s"}}'
FAILURES = f'mailhearth_failures_total{{{JOB}, stage="send", class="%s"}}'
REQUESTS = f'mailhearth_web_requests_total{{{JOB}, status="%s"}}'
SLOW, FAST = (f'mailhearth_web_seconds_bucket{{{JOB}, le="{le}"}}' for le in ("5.0", "0.5"))
ALL = f'mailhearth_web_seconds_bucket{{{JOB}, le="+Inf"}}'
SAVED = 'kube_cronjob_status_last_successful_time{namespace="mh", cronjob="mailhearth-backup"}'

CASES = {
    "MailhearthWebDown": down("web"),
    "MailhearthSchedulerDown": down("scheduler"),
    "MailhearthOperatorDown": down("operator"),
    "SchedulerStuck": Case({TICKS: "7x60"}, {TICKS: "0+12x60"}),
    "PoolAsleepWithDueWork": Case(
        # The pool of the same name in another namespace is awake.
        {DUE % "a": "3x60", WORKERS % "a": "0x60", DUE % "b": "0x60", WORKERS % "b": "1x60"},
        {DUE % "a": "3x60", WORKERS % "a": "1x60", DUE % "b": "0x60", WORKERS % "b": "0x60"},
        labels={"namespace": "a", "pool": "sales"},
    ),
    "WorkIsLate": Case({LATE: "1000x60"}, {LATE: "600x60"}),
    "WakeUpsPileUp": Case({WAITING: "1500x60"}, {WAITING: "900x60"}, labels={"group": "sales"}),
    "WorkersAreLost": Case({RECLAIMED: "0+1x60"}, {RECLAIMED: "5x60"}),
    "ForgedJobs": Case({FORGED: "0x20 1x40"}, {FORGED: "1x60"}),
    "MailLandsInJunk": Case(
        {JUNK: "0+1x1600", INBOX: "0+3x1600"}, {JUNK: "0+1x1600", INBOX: "0+9x1600"}, at="26h"
    ),
    "MailboxesNeedSignIn": Case(
        {MAILBOXES % "needs_reauth": "1x120", MAILBOXES % "active": "9x120"},
        {MAILBOXES % "needs_reauth": "0x120", MAILBOXES % "active": "9x120"},
        at="90m",
    ),
    "UnexpectedFailures": Case(
        {FAILURES % "unexpected": "0x20 1x40"},
        {FAILURES % "unexpected": "1x60", FAILURES % "temporary": "0+1x60"},
        labels={"stage": "send"},
    ),
    "WebErrors": Case(
        {REQUESTS % "503": "0+1x60", REQUESTS % "200": "0+9x60"},
        {REQUESTS % "503": "0+1x60", REQUESTS % "200": "0+99x60"},
    ),
    "WebSlow": Case(
        {FAST: "0+5x60", SLOW: "0+10x60", ALL: "0+10x60"},
        {FAST: "0+99x60", SLOW: "0+100x60", ALL: "0+100x60"},
    ),
    "BackupMissed": Case(
        {SAVED: "0x3200"},
        {SAVED: "0+60x3200"},
        at="50h",
        labels={"namespace": "mh", "cronjob": "mailhearth-backup"},
    ),
}


@pytest.fixture(scope="module")
def rules() -> dict[str, Json]:
    (found,) = rendered("backups").of("PrometheusRule")
    return {rule["alert"]: rule for group in found["spec"]["groups"] for rule in group["rules"]}


def test_each_alert_is_here(rules: dict[str, Json]) -> None:
    assert set(rules) == set(CASES)


@pytest.mark.parametrize("name", list(CASES))
def test_an_alert_fires_for_what_it_is_about_only(
    rules: dict[str, Json], name: str, tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH: install Prometheus (Debian: prometheus)")
    rule, case = rules[name], CASES[name]
    fired = {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": rule["annotations"],
    }
    asked = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "alert_rule_test": [
                    {"eval_time": case.at, "alertname": name, "exp_alerts": expected}
                ],
            }
            for series, expected in ((case.sick, [fired]), (case.well, []))
        ],
    }
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]})
    )
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump(asked))
    done = subprocess.run(
        [promtool, "test", "rules", "asked.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
