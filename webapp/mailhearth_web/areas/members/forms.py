"""Forms about the people of a workspace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask_wtf import FlaskForm
from wtforms import BooleanField, EmailField, RadioField, SelectField
from wtforms.validators import DataRequired, Length

from mailhearth_core.access import DESCRIPTIONS, Role


class Invite(FlaskForm):  # type: ignore[misc]
    """Args:
    roles: those that may be given.
    """

    email = EmailField(
        "E-mail address",
        description="They accept it signed in with this address.",
        validators=[DataRequired("Whom do you invite?"), Length(max=320, message="Too long.")],
    )
    role = RadioField("Role", default=Role.MEMBER.value)
    any_address = BooleanField("Whoever has the link may accept it, with any address")

    def __init__(self, *, roles: Iterable[Role], **values: Any) -> None:
        super().__init__(**values)
        self.role.choices = [
            (role.value, f"{role.value.capitalize()}: {DESCRIPTIONS[role]}") for role in roles
        ]


class ChangeRole(FlaskForm):  # type: ignore[misc]
    role = SelectField("Role")

    def __init__(self, *, roles: Iterable[Role], **values: Any) -> None:
        super().__init__(**values)
        self.role.choices = [(role.value, role.value.capitalize()) for role in roles]
