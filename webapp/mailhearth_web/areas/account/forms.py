"""The account's forms."""

from __future__ import annotations

from typing import Any

from flask_wtf import FlaskForm
from wtforms import StringField, ValidationError
from wtforms.validators import DataRequired


class DeleteAccount(FlaskForm):  # type: ignore[misc]
    """Args:
    word: what must be typed.
    """

    confirmation = StringField(validators=[DataRequired("Type it to go on.")])

    def __init__(self, *, word: str, **values: Any) -> None:
        super().__init__(**values)
        self.word = word
        self.confirmation.label.text = f"Type {word} to go on"

    def validate_confirmation(self, field: StringField) -> None:
        if (field.data or "").strip().lower() != self.word.lower():
            raise ValidationError(f"This is not {self.word}.")
