"""What lies beside a tokenizer's file: tokenizer_config.json, with special pieces and a chat template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcqlora import files
from mcqlora.errors import UserError

CONFIG, CHAT_TEMPLATE = "tokenizer_config.json", "chat_template.jinja"


def read_config(path: files.PathLike) -> files.Json:
    """What stands in `CONFIG` beside a tokenizer's file, with the template of a `CHAT_TEMPLATE` there.

    Raises:
        UserError: it is no JSON, or holds no keys.
    """
    beside = Path(path).parent
    found = files.read_json(beside / CONFIG) if (beside / CONFIG).is_file() else {}
    if not isinstance(found, dict):
        raise UserError(f"{beside / CONFIG}: holds no keys; fetch it again")
    template = beside / CHAT_TEMPLATE
    if template.is_file() and "chat_template" not in found:
        found["chat_template"] = template.read_text(encoding="utf-8")
    return found


def special_piece(config: Mapping[str, Any], role: str) -> str | None:
    """The piece that a `tokenizer_config.json` names for a role such as `eos_token`."""
    found = config.get(role)
    return found.get("content") if isinstance(found, Mapping) else found
