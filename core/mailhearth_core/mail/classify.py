"""From a server's reply to what the caller should do: one pass over the table in `rules`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailhearth_core.mail.model import FailureKind, MailError, Scope, Stage
from mailhearth_core.mail.rules import IMAP_RULES, RULES, SMTP_RULES, Rule

MAX_TEXT = 300
"""Characters of a server's words that are kept."""

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)")
_RESPONSE_CODE = re.compile(r"\[([A-Z][A-Z0-9-]*)(?: [^\]]*)?\]", re.IGNORECASE)
_IGNORED_CODES = {"ALERT", "WEBALERT", "CAPABILITY"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reply means; `code` is stable and for machines, `words` and `hint` for people."""

    kind: FailureKind
    scope: Scope
    code: str
    words: str
    hint: str
    source: str


def classify_smtp(code: int, text: str, stage: Stage) -> Verdict:
    """The meaning of an SMTP error reply; `text` without the three digits, lines joined."""
    return _verdict(SMTP_RULES, stage, str(code), enhanced_code(text) or "", text)


def classify_imap(text: str, stage: Stage, *, status: str = "NO") -> Verdict:
    """The meaning of a tagged NO or BAD, or of BYE, from its text with any [RESPONSE-CODE]."""
    reply = response_code(text) or (status if status in ("BAD", "BYE") else "")
    return _verdict(IMAP_RULES, stage, reply, "", text)


def enhanced_code(text: str) -> str | None:
    """The first enhanced status code (RFC 3463) in a reply's text, such as "5.7.8"."""
    # Gmail repeats the code on each line and joins it to the digits with "-".
    found = _ENHANCED.search(text[:200])
    return found.group(0) if found else None


def response_code(text: str) -> str | None:
    """The first telling IMAP response code in a text, in capitals."""
    for found in _RESPONSE_CODE.finditer(text[:1000]):
        name = found.group(1).upper()
        if name not in _IGNORED_CODES:
            return name
    return None


def clean_text(text: str, hidden: Iterable[str] = ()) -> str:
    """A server's words fit to store and show: one line, printable, short, `hidden` blanked."""
    for word in hidden:
        if word:
            text = text.replace(word, "***")
    printable = "".join(c if c.isprintable() else " " for c in text[: MAX_TEXT * 4])
    return " ".join(printable.split())[:MAX_TEXT]


def smtp_error(code: int, text: str, stage: Stage, hidden: Iterable[str] = ()) -> MailError:
    """The error for an SMTP reply."""
    verdict = classify_smtp(code, text, stage)
    return _error(verdict, stage, clean_text(text, hidden), code, enhanced_code(text))


def imap_error(
    text: str, stage: Stage, *, status: str = "NO", hidden: Iterable[str] = ()
) -> MailError:
    """The error for an IMAP reply."""
    verdict = classify_imap(text, stage, status=status)
    return _error(verdict, stage, clean_text(text, hidden), None, None)


def _error(
    verdict: Verdict, stage: Stage, text: str, reply_code: int | None, enhanced: str | None
) -> MailError:
    said = " ".join(part for part in (str(reply_code or ""), text) if part)
    return MailError(
        f"{verdict.words} The server said: {said}" if said else verdict.words,
        kind=verdict.kind,
        stage=stage,
        scope=verdict.scope,
        code=verdict.code,
        hint=verdict.hint,
        reply_code=reply_code,
        enhanced=enhanced,
        server_text=text,
    )


def _verdict(
    rules: tuple[Rule, ...], stage: Stage, reply: str, enhanced: str, text: str
) -> Verdict:
    bounded = text[:2000]
    rule = next(r for r in rules if r.matches(stage, reply, enhanced, bounded))
    return Verdict(rule.kind, rule.scope, rule.code, rule.words, rule.hint, rule.source)


def table_markdown() -> str:
    """The whole table as the page `docs/mail-errors.md`."""
    lines = [
        "# What mail servers answer, and what Mailhearth does",
        "",
        "Made from `mailhearth_core/mail/rules.py`; the first matching row counts. *Kind* is what",
        "happens next: `try_later` and `provider_limit` pass by themselves, `reauthenticate` needs",
        "the mailbox to be connected again, `permanent` needs a change. *Scope* is what the",
        "failure is about.",
    ]
    for protocol in ("smtp", "imap"):
        lines += ["", f"## {protocol.upper()}", ""]
        lines += ["| Reply | Step | Kind | Scope | Code | Meaning | What to do | Source |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [_row(rule) for rule in RULES if rule.protocol == protocol]
    return "\n".join(lines) + "\n"


def _row(rule: Rule) -> str:
    pattern = [f"`{p}`" for p in (rule.reply, rule.enhanced) if p]
    pattern += [f"says `{rule.text}`"] if rule.text else []
    cells = (
        " ".join(pattern) or "any",
        ", ".join(sorted(rule.stages)) or "any",
        rule.kind,
        rule.scope,
        f"`{rule.code}`",
        rule.words,
        rule.hint,
        rule.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
