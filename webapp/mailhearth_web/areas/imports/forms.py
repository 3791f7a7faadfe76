"""Forms of an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask_wtf import FlaskForm
from wtforms import BooleanField, FileField, SelectField

from mailhearth_web.areas.mailboxes.forms import pool_choices


class UploadForm(FlaskForm):  # type: ignore[misc]
    """A file, and what holds for rows that do not say."""

    file = FileField("CSV file")
    pool = SelectField("Pool", description="For rows that name none.")
    consent = BooleanField(
        "The owners of these mailboxes agree to warmup in this workspace",
        description="For rows whose column consent is empty. Your answer goes on record.",
    )

    def offer_pools(self, pools: Sequence[Mapping[str, Any]]) -> None:
        self.pool.choices = pool_choices(pools)
