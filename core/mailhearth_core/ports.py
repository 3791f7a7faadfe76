"""The ports whose other side differs between one machine and a cluster.

`KeyStore` (see `keystore.py`) makes and keeps private keys; `Provisioner` turns wishes from the
outbox into what runs: keys, database logins, pools' projections, worker Deployments. Locally the
supervisor serves both from files; in a cluster the operator serves them from Secrets and resources.
"""

from __future__ import annotations

from typing import Protocol

from mailhearth_core.keystore import KeyStore

__all__ = ["KeyStore", "Provisioner"]


class Provisioner(Protocol):
    """Turns open wishes into fact; level-based, safe to call again at any time."""

    def reconcile(self) -> int:
        """Fulfils or refuses every open wish and repairs what a wish once made.

        Returns the number of wishes ended. A wish that cannot be fulfilled yet stays open.
        """
        ...
