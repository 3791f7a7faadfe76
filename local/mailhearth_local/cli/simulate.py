"""`mailhearth simulate`."""

from __future__ import annotations

import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.simulator import compare as comparing
from mailhearth_core.simulator.receivers import MODELS, Receivers, from_values
from mailhearth_core.simulator.result import Result
from mailhearth_core.simulator.run import Simulation
from mailhearth_core.simulator.scenario import (
    FAULTS,
    MOST_DAYS,
    MOST_MAILBOXES,
    Scenario,
)
from mailhearth_core.warmup.policy import Policy, apply
from mailhearth_local.cli.options import common, key_values
from mailhearth_local.cli.output import emit_json, table
from mailhearth_local.cli.progress import counting
from mailhearth_local.cli.session import Session

MAILBOXES, COMPARED = 200, 60


def _faults(ctx: click.Context, parameter: click.Parameter, value: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    for name in sorted(names - set(FAULTS)):
        raise click.BadParameter(
            f"{name!r} is none of {', '.join(FAULTS)}.", ctx=ctx, param=parameter
        )
    return names


@click.command(short_help="Try a warmup in virtual time, without any mail.")
@click.option(
    "--mailboxes",
    type=click.IntRange(2, MOST_MAILBOXES),
    metavar="N",
    help=f"How many, in one pool.  [default: {MAILBOXES}; with --compare {COMPARED}]",
)
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=30, show_default=True)
@click.option(
    "--faults",
    default="",
    callback=_faults,
    metavar="LIST",
    help=f"What goes wrong, out of {','.join(FAULTS)}.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--model",
    type=click.Choice(list(MODELS)),
    help="How receivers judge a sender.  [default: engagement; with --compare all]",
)
@click.option(
    "--receivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A model's parameters, as TOML (docs/simulator.md).",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    callback=key_values,
    metavar="KEY=VALUE",
    help="Another value in the pool's policy, as `pool set` takes it; repeatable.",
)
@click.option(
    "--without-consent",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="So many of the mailboxes have not agreed to warmup.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one page with charts there; it needs no network.",
)
@click.option("--compare", is_flag=True, help="The product's rule beside three fixed ones.")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    metavar="N",
    help="With --compare: so many seeds, from --seed on.",
)
@common
def simulate(
    session: Session,
    mailboxes: int | None,
    days: int,
    faults: frozenset[str],
    seed: int,
    model: str | None,
    receivers: Path | None,
    changes: dict[str, str],
    without_consent: int,
    html: Path | None,
    compare: bool,
    seeds: int,
) -> None:
    """Try a warmup in virtual time: the ramp, the placement, rules compared.

    It runs the product's own sizing, matching, engagement and control against simulated mailboxes
    and a model of how receivers judge a sender (docs/simulator.md). No mail is sent, no database is
    needed, and the same words give the same answer.

    \b
    Examples:
      mailhearth simulate --mailboxes 200 --days 30 --faults bounce,junk,auth,outage --seed 7
      mailhearth simulate --set cap=30 --html ramp.html
      mailhearth simulate --compare --faults bounce,junk,auth,outage

    JSON keys: scenario (all that went in), totals {sent, inbox, junk, missing, bounced, replies,
    skipped, mail_per_mailbox_day, inbox_rate, inbox_rate_low, inbox_rate_high,
    inboxed_per_mailbox_day, quarantine_mailbox_days, days_to_full}, days: a list of {day, date,
    weekday, target, planned, sent, inbox, junk, missing, bounced, replies, skipped, sending,
    resting, blocked}, mailboxes: a list of {address, provider, consent, sent, inbox, junk, missing,
    bounced, resting_days, full_on}.

    JSON keys of --compare: policies: a list of {name, mail_per_mailbox_day, inbox_rate,
    inbox_rate_low, inboxed_per_mailbox_day, quarantine_mailbox_days, days_to_full}; models: the
    same for each model of receivers; ahead: rules that do better than closed-loop; mailboxes, days,
    seed, seeds, faults.
    """
    if compare and html:
        raise click.UsageError("--html shows one run; leave it out with --compare.")
    if model and receivers:
        raise click.UsageError("--model and --receivers both name a model; give one of them.")
    own = _read(receivers) if receivers else None
    models = [own] if own else [MODELS[model]] if model else list(MODELS.values())
    scenario = Scenario(
        mailboxes=mailboxes or (COMPARED if compare else MAILBOXES),
        days=days,
        seed=seed,
        faults=faults,
        receivers=models[0],
        policy=apply(Policy(), changes),
        without_consent=without_consent,
    )
    if compare:
        _compare(session, scenario, models, seeds)
        return
    result = _run(scenario, quiet=session.quiet)
    seen = result.to_json()
    if html:
        from mailhearth_local.simulation_page import page

        try:
            html.write_text(page(seen), "utf-8")
        except OSError as error:
            raise MailhearthError(f"{html} cannot be written: {error.strerror}.") from None
    if session.json:
        emit_json(seen)
    else:
        _show(result)
        if html:
            click.echo(f"\nThe page is in {html}.")


def _read(path: Path) -> Receivers:
    """The model in a file."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = 'Lines are NAME = NUMBER, and base = "volume"; docs/simulator.md lists the names.'
        raise MailhearthError(f"{path} is not TOML: {error}.", hint=hint) from None
    try:
        return from_values(values)
    except InvalidValue as error:
        error.hint = f"It stands in {path}; docs/simulator.md lists the parameters."
        raise


def _run(scenario: Scenario, *, quiet: bool) -> Result:
    simulation = Simulation(scenario)
    with counting("Simulating", simulation.hours, quiet=quiet) as advance:
        return simulation.run(advance)


def _show(result: Result) -> None:
    table(
        ("day", "", "target", "sent", "per mailbox", "inbox", "junk", "missing", "bounced",
         "skipped", "inbox rate", "sending", "resting", "blocked"),
        [
            (
                day.day, day.weekday, f"{day.target:.1f}", day.sent,
                f"{day.sent / day.sending:.1f}" if day.sending else "-",
                day.inbox, day.junk, day.missing, day.bounced, day.skipped,
                _percent(day.inbox, day.inbox + day.junk + day.missing),
                day.sending, day.resting, day.blocked,
            )
            for day in result.days
        ],
    )  # fmt: skip
    totals = result.totals()
    full = totals["days_to_full"]
    click.echo(
        f"\n{totals['mail_per_mailbox_day']:.2f} mails per mailbox and day, "
        f"{totals['inboxed_per_mailbox_day']:.2f} of them into the inbox; inbox rate "
        f"{_rate(totals['inbox_rate'], totals['inbox_rate_low'], totals['inbox_rate_high'])}; "
        f"{totals['quarantine_mailbox_days']} mailbox-days in quarantine; full volume with 90 % "
        f"in the inbox: {f'day {full}' if full else 'not reached by most'}."
    )


def _compare(session: Session, scenario: Scenario, models: Sequence[Receivers], seeds: int) -> None:
    runs = comparing.scenarios(scenario, models, seeds)
    began = time.monotonic()
    with counting(f"Simulating {len(runs)} runs", len(runs), quiet=session.quiet) as advance:
        outcomes = _outcomes(runs, advance)
    whole = comparing.lines(outcomes)
    by_model = {
        model.name: comparing.lines(o for o in outcomes if o.model == model.name)
        for model in models
    }
    ahead = comparing.rivals_ahead(whole)
    if session.json:
        emit_json(
            {
                "policies": [line.to_json() for line in whole],
                "models": {
                    name: [line.to_json() for line in lines] for name, lines in by_model.items()
                },
                "ahead": ahead,
                "mailboxes": scenario.mailboxes,
                "days": scenario.days,
                "seed": scenario.seed,
                "seeds": seeds,
                "faults": [fault for fault in FAULTS if fault in scenario.faults],
            }
        )
        return
    for name, lines in ({"all receivers": whole} | by_model).items():
        click.echo(f"{name}:")
        table(
            ("rule", "mail", "inbox rate", "into the inbox", "quarantine", "full on day"),
            [
                (
                    line.name, f"{line.mail_per_mailbox_day:.2f}",
                    _rate(line.inbox_rate, line.inbox_rate_low, line.inbox_rate_high),
                    f"{line.inboxed_per_mailbox_day:.2f}", line.quarantine_mailbox_days,
                    line.days_to_full,
                )
                for line in lines
            ],
        )  # fmt: skip
        click.echo()
    said = f"Ahead of closed-loop at about its inbox rate or better: {', '.join(ahead)}."
    click.echo(said if ahead else "No rule with about its inbox rate or better is ahead of it.")
    click.echo(
        f"Mail and inbox: per mailbox and day. Quarantine: mailbox-days in a run. {len(runs)} runs "
        f"of {scenario.mailboxes} mailboxes took {time.monotonic() - began:.0f} s."
    )


def _outcomes(runs: Sequence[Scenario], advance: Callable[[], None]) -> list[comparing.Outcome]:
    """Every run's outcome, in as many processes as this one may use processors."""
    # A fresh process knows nothing of this one's threads (the progress bar has one).
    pool = ProcessPoolExecutor(
        min(_processors(), len(runs)), mp_context=get_context("spawn"), initializer=_uninterrupted
    )
    try:
        waiting = [pool.submit(comparing.outcome, scenario) for scenario in runs]
        for _ in as_completed(waiting):
            advance()
        return [future.result() for future in waiting]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _uninterrupted() -> None:
    """Ctrl-C is for the parent, which then asks for no more runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _processors() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _rate(point: float | None, low: float, high: float) -> str:
    if point is None:
        return "-"
    return f"{100 * point:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
