"""Forms of the administration."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import DataRequired, Length

from mailhearth_core.verbs.administration import REASON_MAX


class Reason(FlaskForm):  # type: ignore[misc]
    reason = StringField(
        "Reason",
        validators=[
            DataRequired("Say why: it stands in the audit trail."),
            Length(max=REASON_MAX, message=f"At most {REASON_MAX} characters."),
        ],
        filters=[lambda text: " ".join((text or "").split())],
    )
