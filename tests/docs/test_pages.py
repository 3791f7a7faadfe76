"""What the pages about Kubernetes say is so: reasons, alerts, commands, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from helm import CHART, Json, chart_values, rendered
from mailhearth_local.cli.app import root
from mailhearth_operator.engine.mailboxes import OPTIONS
from mailhearth_operator.engine.reconciler import QUIET_CODES

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = (ROOT / "docs" / "kubernetes.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PAGES = pytest.mark.parametrize("page", [KUBERNETES, OPERATIONS], ids=["kubernetes", "operations"])
OPERATOR = ROOT / "operator" / "mailhearth_operator"
CORE = ROOT / "core" / "mailhearth_core"
WHERE_CODES_ARE = (
    *sorted((OPERATOR / "engine").glob("*.py")),
    OPERATOR / "cluster" / "api.py",
    OPERATOR / "resources" / "spec.py",
    CORE / "storage" / "doors.py",
    CORE / "storage" / "installation.py",
    CORE / "errors.py",
)
NEVER_A_REASON = {
    "error",  # the base class
    "invalid_value",  # of a Secret: SecretRefused; of a spec: SpecInvalid
    "stale_generation",  # of a wish in the dashboard
    "no_cluster",  # before there is a resource to tell it on
    "sandbox_refused",  # of the migration
    "login_missing",  # of a worker
}


def trees(*paths: Path) -> Iterator[ast.AST]:
    for path in paths:
        yield from ast.walk(ast.parse(path.read_text()))


def words_of_conditions_and_events() -> set[str]:
    """The reasons that stand in calls: the third argument of Condition(...) and of .tell(...)."""
    found = set()
    for node in trees(*OPERATOR.rglob("*.py")):
        if not isinstance(node, ast.Call) or len(node.args) < 3:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        place = {"Condition": 2, "tell": 2}.get(name)
        if place is None:
            continue
        word = node.args[place]
        if isinstance(word, ast.Constant):
            found.add(str(word.value))
    return found


def words_of_errors() -> set[str]:
    """Codes of errors that an operator may meet, as the reconciler writes them."""
    codes = {"internal_error"}
    for node in trees(*WHERE_CODES_ARE):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names = {one.id for one in targets if isinstance(one, ast.Name)}
        value = getattr(node, "value", None)
        if "code" in names and isinstance(value, ast.Constant):
            codes.add(str(value.value))
        if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(value, ast.Constant):
            codes.add(str(value.value))
    spoken = codes - set(QUIET_CODES) - NEVER_A_REASON
    return {"".join(word.capitalize() for word in code.split("_")) for code in spoken}


def rows(page: str, heading: str) -> list[str]:
    """The first cells of the table below a heading."""
    below = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| (`[^|]+`) \|", below, re.MULTILINE)


def test_each_reason_of_the_operator_is_in_the_table_and_no_other() -> None:
    told = {cell.strip("`") for cell in rows(KUBERNETES, "Troubleshooting")}
    written = words_of_conditions_and_events() | words_of_errors()
    assert {"KeysMissing", "Forbidden", "AsleepWithDueWork", "DatabaseUnavailable"} <= written
    assert told == written


def test_each_key_of_a_mailbox_secret_is_in_the_table_and_no_other() -> None:
    told = {
        key
        for cell in rows(KUBERNETES, "Mailboxes by Secret")
        for key in re.findall("`(.+?)`", cell)
    }
    assert told == OPTIONS


def test_each_alert_has_its_section_and_no_other() -> None:
    alerts = {
        rule["alert"]
        for case in ("backups", "monitoring")
        for one in rendered(case).of("PrometheusRule")
        for group in one["spec"]["groups"]
        for rule in group["rules"]
    }
    source = (CHART / "files" / "alerts.yaml").read_text()
    assert alerts == set(re.findall(r"^- alert: (\w+)$", source, re.MULTILINE))
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^###? |\Z)", OPERATIONS, re.M | re.S))
    assert sections.keys() == alerts
    for name, text in sections.items():
        assert "\nSee: " in text, name
        assert "\nDo: " in text, name


def commands(page: str) -> list[list[str]]:
    """What follows `mh` or `mailhearth` in code: shell blocks and inline."""
    code = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    code = code.replace("\\\n", " ")
    code += "\n" + "\n".join(
        text.replace("\n", " ")
        for text in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.S))
    )
    found = re.findall(r"(?:^|-- |\| )(?:mh|mailhearth) ([a-z].*?)$", code, re.MULTILINE)
    return [re.split(r"[|;>#]", words)[0].split() for words in found]


@PAGES
def test_each_command_of_a_page_exists_with_its_options(page: str) -> None:
    found = commands(page)
    assert len(found) > 5
    for words in found:
        if words[0].startswith("charts/"):
            continue  # `helm ... mailhearth charts/mailhearth`
        command: click.Command = root
        rest = list(words)
        while isinstance(command, click.Group):
            assert rest, words
            inner = command.get_command(click.Context(command), rest.pop(0))
            assert inner is not None, words
            command = inner
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}
        assert used <= known, words


@PAGES
def test_each_value_and_object_of_the_chart_that_a_page_names_exists(page: str) -> None:
    values = chart_values()
    for name in set(re.findall(r"`((?:[a-z][A-Za-z]*\.)+[a-z][A-Za-z]*)(?:=[^`]*)?`", page)):
        top = name.split(".")[0]
        if top not in values:
            continue  # a file, or a field of a resource
        at: object = values
        for part in name.split("."):
            assert isinstance(at, dict), name
            assert part in at, name
            at = at[part]
    objects = {
        f"{kind}/{one['metadata']['name']}"
        for case in ("backups", "sandbox", "monitoring")
        for one in rendered(case).objects
        for kind in (one["kind"].lower(), {"Deployment": "deploy"}.get(one["kind"], ""))
    }
    named = set(re.findall(r"\b((?:deploy|cronjob|statefulset)/mailhearth[a-z-]*)", page))
    assert named
    assert named <= objects


def fields_of(resource: str) -> Json:
    definition: Json = yaml.safe_load((ROOT / "crds" / f"{resource}.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    found: Json = schema["spec"]["properties"]
    return found


def test_the_fields_of_a_pool_that_the_page_names_exist() -> None:
    fields = fields_of("mailboxpools")
    for name in ("suspend", "autoscale", "workerGroup", "replicas", "mailboxes", "deletionPolicy"):
        assert f"{name}" in KUBERNETES
        assert name in fields
    for name in set(re.findall(r"`replicas\.(\w+)", KUBERNETES)):
        assert name in fields["replicas"]["properties"], name


@PAGES
def test_every_anchor_of_a_link_is_a_heading(page: str) -> None:
    found = re.findall(r"\]\(([\w.]*)#([\w-]+)\)", page)
    assert found
    for name, anchor in found:
        text = (ROOT / "docs" / name).read_text() if name else page
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
        assert anchor in slugs, (name, anchor)


@PAGES
def test_the_examples_that_a_page_names_exist(page: str) -> None:
    for name in set(re.findall(r"\bexamples/[\w./-]*[\w]", page)):
        assert (ROOT / name).exists(), name
