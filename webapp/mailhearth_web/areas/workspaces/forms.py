"""Forms about a workspace as a whole."""

from __future__ import annotations

from typing import Any

from flask_wtf import FlaskForm
from wtforms import StringField, ValidationError
from wtforms.validators import DataRequired

from mailhearth_core.names import why_not

NAME_HELP = "Lower-case letters, digits and hyphens, as in team-north. It can be changed later."


class Name(FlaskForm):  # type: ignore[misc]
    name = StringField(
        "Name",
        description=NAME_HELP,
        filters=[lambda text: (text or "").strip()],
        validators=[DataRequired("Give it a name.")],
    )

    def validate_name(self, field: StringField) -> None:
        problem = why_not(field.data)
        if problem is not None:
            raise ValidationError(problem)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class Delete(FlaskForm):  # type: ignore[misc]
    """Args:
    word: what must be typed.
    """

    confirmation = StringField(validators=[DataRequired("Type the name to go on.")])

    def __init__(self, *, word: str, **values: Any) -> None:
        super().__init__(**values)
        self.word = word
        self.confirmation.label.text = f"Type {word} to go on"

    def validate_confirmation(self, field: StringField) -> None:
        if (field.data or "").strip() != self.word:
            raise ValidationError(f"This is not {self.word}.")
