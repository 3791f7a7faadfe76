"""Signs of life on a terminal for what may take over two seconds; on stderr, gone after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def waiting(text: str, enter: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """Enters a context with a moving bar while entering takes; the body runs without the bar."""
    with ExitStack() as stack:
        with moving(text):
            value = stack.enter_context(enter())
        yield value


@contextmanager
def moving(text: str) -> Iterator[None]:
    """A bar of unknown length with the time spent so far."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(text, total=None)
        yield


@contextmanager
def counting(text: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar for `total` things; call what it yields after each."""
    if quiet:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
