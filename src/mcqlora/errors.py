"""The one exception that carries a message meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or configuration: one line that names the file and row, says what is wrong and what to do."""

    def __init__(self, message: str) -> None:
        # What it names is the user's: a column or a path may have a line break.
        super().__init__(" ".join(message.splitlines()))
