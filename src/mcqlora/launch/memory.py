"""How much memory a process may take."""

from __future__ import annotations

import os
from pathlib import Path


def limit(root: Path = Path("/")) -> int:
    """Bytes of this machine's memory, or of a control group's that this process is in, if those are fewer.

    Slurm and containers limit a job so. `root` is where `proc` and `sys` are. Source: Linux'
    Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    groups = root / "proc/self/cgroup"
    for line in groups.read_text(encoding="utf-8").splitlines() if groups.exists() else []:
        _, kinds, group = line.split(":", 2)
        if kinds == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in kinds.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        path = Path(group.lstrip("/"))
        for folder in (path, *path.parents):
            file = top / folder / name
            said = file.read_text(encoding="utf-8").strip() if file.exists() else "max"
            found += [int(said)] if said.isdigit() else []
    return min(found)
