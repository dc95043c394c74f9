"""What MindSpore's wheel says about an Ascend NPU's kernels, without one.

An operator's kernel is one of four kinds: `aclnn`, CANN's fast ones; CANN's graph operators (`aclop`); those
that the wheel brings for the NPU's few, slow CPU cores (AI CPU); and the host's. The first kind is read from
the names of C++ types in the library that holds the wrappers:
`MS_ACLNN_COMMON_KERNEL_FACTORY_REG(Abs, ...)` of include/mindspore/ops/kernel/ascend/opapi/aclnn_kernel_mod.h
leaves `AclnnAbsKernelMod`, a hand-written one `AbsAscend` or `AbsAclnnKernelMod`.
"""

import functools
import json
import re
from importlib.util import find_spec
from pathlib import Path

# Hand-written wrappers that are called otherwise than their operator.
NAMED_OTHERWISE = {"BMMAclnnKernelMod": "BatchMatMul", "MMExtAclnnKernelMod": "MatMulExt"}
NAMES = (r"Aclnn(\w+)KernelMod", r"(\w+)AclnnKernelMod", r"(\w+)Ascend(?:Call)?")


def _plugin() -> Path:
    return Path(find_spec("mindspore").submodule_search_locations[0]) / "lib" / "plugin"


@functools.cache
def aclnn() -> frozenset[str]:
    """Operators with an aclnn kernel in graph mode."""
    library = (_plugin() / "libmindspore_ops_ascend.so").read_bytes()
    # An Itanium-mangled name of a type in mindspore::kernel, perhaps in one more namespace (but pyboost's,
    # which are not for graphs), perhaps a template.
    kinds = re.findall(rb"\0N9mindspore6kernel((?:\d+\w+?)?)E\0", library)
    kinds += re.findall(rb"\0N9mindspore6kernel(\d+\w+?)I\w+\0", library)
    found = set()
    for kind in kinds:
        *spaces, name = _parts(kind.decode())
        if "pyboost" not in spaces:
            found.add(NAMED_OTHERWISE.get(name) or _operator(name))
    return frozenset(found - {None})


def _parts(mangled: str) -> list[str]:
    """The names of `6kernel3Abs`, each after its length."""
    parts = [""]
    while match := re.match(r"\d+", mangled):
        end = match.end() + int(match[0])
        parts.append(mangled[match.end() : end])
        mangled = mangled[end:]
    return parts


def _operator(kind: str) -> str | None:
    return next((match[1] for name in NAMES if (match := re.fullmatch(name, kind))), None)


@functools.cache
def ai_cpu() -> frozenset[str]:
    """Operators that the wheel brings for the NPU's CPU cores."""
    config = _plugin() / "ascend/custom_aicpu_ops/op_impl/cpu/config/cust_aicpu_kernel.json"
    return frozenset(json.loads(config.read_text()))
