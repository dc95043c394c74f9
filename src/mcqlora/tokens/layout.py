"""Constants of training rows and shards, for modules that make neither."""

from __future__ import annotations

from typing import Literal

Layout = Literal["padded", "packed"]

COLUMNS: dict[Layout, tuple[str, ...]] = {
    "padded": ("input_ids", "labels"),
    "packed": ("input_ids", "labels", "document_ids"),
}
PAGE = 1 << 18  # bytes of a shard's page; the library's 32 MiB make any small shard 50 MB
HEADER = 1 << 22  # bytes of a shard's header; room for about 18,000 pages, some 4 GiB of compressed rows
