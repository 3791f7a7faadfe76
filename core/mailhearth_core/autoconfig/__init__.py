"""A mailbox's servers from its address: a table of common providers, and what a domain publishes.

`known` asks nobody and may be called anywhere. `discover.discover` asks the DNS and the domain's
own web server; only a worker calls it.
"""

from mailhearth_core.autoconfig.model import SignIn, Suggestion
from mailhearth_core.autoconfig.table import by_exchanger, known

__all__ = ["SignIn", "Suggestion", "by_exchanger", "known"]
