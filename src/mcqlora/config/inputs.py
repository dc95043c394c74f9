"""Files that the configuration names: below `data`, or by address, and then downloaded."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcqlora.config.sections import GENERATED, Benchmark, Settings
from mcqlora.data import layouts, readers
from mcqlora.data.layouts import Layout
from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.model import tensorfiles
from mcqlora.storage import addresses
from mcqlora.storage import archives as storage
from mcqlora.tokens.tokenizer_config import CHAT_TEMPLATE, CONFIG

TOKENIZERS = "tokenizer.model", "tokenizer.json"  # of a Hugging Face folder; the first that is there
# Names of downloads; a benchmark's ends as its archive does.
READING, BASE_CONFIG = "reading.json", "base-config/config.json"


def recorded(config: Mapping[str, Any]) -> Json:
    """What of the configuration made the run, without what an address may say of passwords and tokens."""
    others = ("s3", "publish", "fetch_run", "plan", "judge", "compare", "variants", "seeds")
    return {key: addresses.shown(value) for key, value in config.items() if key not in others}


def with_tokenizer_of_base(settings: Settings) -> Settings:
    """A given base brings its tokenizer, unless another is named.

    Raises:
        UserError: base.sha256 has the hash of a tokenizer that is not the base's.
    """
    base, own = settings.base, settings.tokenizer
    if base.path and own.path is None:
        elsewhere = addresses.is_address(base.path)
        folder = data_root(settings) / base.path
        there = [
            name for name in TOKENIZERS if (name in base.sha256 if elsewhere else (folder / name).exists())
        ]
        name = (there or TOKENIZERS)[0]
        path = addresses.join(base.path, name) if elsewhere else str(Path(base.path, name))
        found = {"path": path, "sha256": own.sha256 or base.sha256.get(name)}
        return settings.model_copy(update={"tokenizer": own.model_copy(update=found)})
    for name in TOKENIZERS:
        if name in base.sha256:
            raise UserError(
                f"base.sha256: {name} is not of the base where tokenizer.path is set; set tokenizer.sha256"
            )
    return settings


def tokenizer_kind(settings: Settings) -> str:
    """How the tokenizer's file ends: .json for Hugging Face's, .model for SentencePiece's."""
    return ".json" if (settings.tokenizer.path or "").split("?")[0].endswith(".json") else ".model"


def tokenizer_files(settings: Settings) -> dict[str, str]:
    """{name of its download: file or address} of a given tokenizer, and of what says its special pieces.

    The latter is looked for in the tokenizer's folder. A tokenizer.json that comes by address must have it.
    """
    path, kind = settings.tokenizer.path, tokenizer_kind(settings)
    if path is None:
        return {}
    found = {f"tokenizer{kind}": path}
    if addresses.is_address(path):
        return found | ({CONFIG: addresses.beside(path, CONFIG)} if kind == ".json" else {})
    beside = {name: Path(path).parent / name for name in (CONFIG, CHAT_TEMPLATE)}
    return found | {name: str(one) for name, one in beside.items() if (data_root(settings) / one).is_file()}


def data_root(settings: Settings) -> Path:
    """What paths in the config are relative to: `data`, or the working directory if that is generated."""
    return Path() if settings.data == GENERATED else Path(settings.data)


def data_file(settings: Settings, path: str, key: str = "") -> str:
    """A file named in the config, by `key`, relative to `data_root`.

    Raises:
        UserError: it is not there or cannot be read, or its name has braces or is no line of text.
    """
    file = data_root(settings) / path
    if not os.path.lexists(file):
        named = f", but {key} names it" if key else ""
        where = f"paths in the config are relative to data ({settings.data})"
        raise UserError(f"{file}: no such file{named}; {where}")
    return _plain(file)


def _plain(file: Path) -> str:
    path = str(file)
    if not path.isprintable():  # nor is a name in bytes that are no UTF-8
        raise UserError(f"{path!a}: its name is no line of text; rename it")
    if "{" in path or "}" in path:
        raise UserError(f"{path}: to Snakemake braces in a path are wildcards; rename it")
    if not file.is_dir():
        _check(file)
    if not file.is_file():
        raise UserError(f"{path}: is no file; rename or remove it")
    return path


def _check(place: Path) -> None:
    """Raises: UserError: `place` is a link to nowhere, or a file or folder that cannot be read."""
    shown = str(place) if str(place).isprintable() else ascii(str(place))
    if place.is_symlink() and not place.exists():
        raise UserError(f"{shown}: a link to {os.readlink(place)!a}, which is not there; mend or remove it")
    if not os.access(place, os.R_OK | (os.X_OK if place.is_dir() else 0)):
        raise UserError(f"{shown}: cannot be read; mend its permissions")


def _check_all(folder: Path, *endings: str) -> None:
    """`_check` a folder, and what is in it with such a name, or any that is not hidden."""
    _check(folder)
    for place in sorted(folder.iterdir()):
        if place.name[0] != "." and (not endings or place.name.endswith(endings)):
            _check(place)


def _check_named(place: Path) -> None:
    """`_check`. Raises: UserError: a folder is called as a file of rows."""
    _check(place)
    if place.is_dir() and layouts.ending(place.name):
        raise UserError(f"{place}: is no file; rename or remove it")


def _files_of_rows(folder: Path, layout: Layout) -> list[Path]:
    """A benchmark's files, and those beside them that its layout does not name: the ledger names these."""
    found = {}
    for place in storage.walk(folder, _check_named):
        if layouts.ending(place.name) or place.name == layouts.README:
            found[place.relative_to(folder).as_posix()] = place
    parts, beside = readers.matched(folder, found, layout)
    readme = [] if layout.files or layouts.README not in found else [layouts.README]
    return [found[name] for name in sorted((*(part.name for part in parts), *beside, *readme))]


def benchmark_files(settings: Settings) -> list[str]:
    """The files of each benchmark below `data`, or its archive, sorted; not of those with an address.

    None for the generated benchmark, whose folder is watched instead.

    Raises:
        UserError: `data`, a benchmark's folder or file is not there, its layout names no file in it, a file
            cannot be read, or has braces in its name, or a name that is no line of text.
    """
    if settings.data == GENERATED:
        return []
    root = Path(settings.data)
    if not root.is_dir():
        raise UserError(
            f"data: there is no folder {root}; give the one that holds the benchmarks: --config data=FOLDER"
        )
    files: list[str] = []
    for benchmark in settings.benchmarks:
        place = root / benchmark.path
        if addresses.is_address(benchmark.path):
            continue
        if place.is_dir():
            files += map(_plain, _files_of_rows(place, benchmark.declaration()))
        else:
            files.append(data_file(settings, benchmark.path))
    return files


def sources(settings: Settings, root: str, fetched: str) -> list[Json]:
    """Arguments of `readers.Source` of each benchmark: below `root`, or a download below `fetched`."""
    found = []
    for one in settings.benchmarks:
        source: Json = {"root": root, "layout": dataclasses.asdict(one.declaration())}
        source |= one.model_dump(include={"name", "path", "language", "sha256"})
        if addresses.is_address(one.path):  # its hash was compared before it was kept
            source |= {"root": fetched, "path": _archive(one), "sha256": None}
        found.append(source)
    return found


def _archive(benchmark: Benchmark) -> str:
    """The name of a benchmark's download, by which it is known what it is."""
    plain = addresses.plain(benchmark.path)
    packed = ".gz" if plain.lower().endswith(".gz") else ""
    return benchmark.name + (addresses.suffix(plain) or layouts.ending(plain) + packed)


def archives(settings: Settings) -> dict[str, Json]:
    """{file name: its download} of the benchmarks that come by address."""
    return _downloads(settings, [(_archive(one), one.path, one.sha256) for one in settings.benchmarks])


def downloads(settings: Settings) -> dict[str, Json]:
    """{file name: its download} of every single file that comes by address."""
    base, tokenizer, part = settings.base, settings.tokenizer, settings.evaluate
    hashes = (tokenizer.sha256, base.sha256.get(CONFIG))
    given = zip(tokenizer_files(settings).items(), hashes, strict=False)
    files: list[tuple[str, str | None, Any]] = [(name, path, sha256) for (name, path), sha256 in given]
    files.append((READING, part.squad, part.squad_sha256))
    files += [(mixed(number), one.path, one.sha256) for number, one in enumerate(settings.train.mix, 1)]
    if base.path and addresses.is_address(base.path):  # alone, so that the plan needs no weights
        address = addresses.join(base.path, "config.json")
        files.append((BASE_CONFIG, address, base.sha256.get("config.json")))
    return archives(settings) | _downloads(settings, files)


def mixed(number: int) -> str:
    """The name of the download of an entry of train.mix, counted from 1."""
    return f"mix-{number}"


def base_download(settings: Settings) -> Json | None:
    """That of the base's folder, if it comes by address; its `sha256` holds a hash per file name."""
    return _downloads(settings, [("base", settings.base.path, settings.base.sha256)]).get("base")


def _downloads(settings: Settings, files: Iterable[tuple[str, str | None, Any]]) -> dict[str, Json]:
    """{name: {address, s3, sha256}} of what comes by address, for fetch.py and fetch_base.py.

    What is no S3 service's does not depend on its settings.
    """
    s3 = settings.s3.model_dump()
    return {
        name: {"address": path, "s3": s3 if addresses.ADDRESS.match(path) else None, "sha256": sha256}
        for name, path, sha256 in files
        if path and addresses.is_address(path)
    }


def base_folder(settings: Settings, fetched: str) -> Path | None:
    """The Hugging Face folder that the base is made of, if any; a downloaded one is below `fetched`."""
    path = settings.base.path
    if not path:
        return None
    return Path(fetched) / "base" if addresses.is_address(path) else data_root(settings) / path


def base_name(settings: Settings, fetched: str) -> str | None:
    """Where PEFT finds a given base: by its name on the Hub, which its address may have, or in its folder."""
    hub = re.match(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/resolve/", settings.base.path or "")
    if settings.base.name:
        return settings.base.name
    if hub:
        return hub[1]
    folder = base_folder(settings, fetched)
    return None if folder is None else str(folder)


def base_files(settings: Settings, fetched: str) -> list[str]:
    """The files, or the folder to be downloaded, that a given base is made of; config.json first.

    Raises:
        UserError: there is no such folder, or none with weights in it.
    """
    path, folder = settings.base.path, base_folder(settings, fetched)
    if path is None or folder is None:
        return []
    if addresses.is_address(path):
        return [f"{fetched}/{BASE_CONFIG}", str(folder)]
    if not folder.is_dir():
        raise UserError(f"base.path: there is no folder {folder}; it is relative to data ({settings.data})")
    _check_all(folder, ".json", ".safetensors", ".bin")
    config = data_file(settings, str(Path(path) / "config.json"))
    return [config, *map(_plain, tensorfiles.weight_files(folder))]


def folder_files(settings: Settings, path: str, key: str, *endings: str) -> list[str]:
    """The files of a folder that the config names by `key`, sorted, of these endings (none: all).

    Raises:
        UserError: there is no such folder, or no such file in it, or one that cannot be read.
    """
    folder = data_root(settings) / path
    if not folder.is_dir():
        raise UserError(f"{key}: there is no folder {folder}; it is relative to data ({settings.data})")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name[0] != ".")
    if endings:
        files = [file for file in files if file.name.endswith(endings)]
    if not files:
        kinds = " or ".join(endings) if endings else "any kind"
        raise UserError(f"{key}: no file of {kinds} in {folder}; name another folder")
    return [_plain(file) for file in files]


def judged_files(settings: Settings) -> dict[str, list[str]]:
    """{name: the files of its network and adapter} of every model that is judged.

    Raises:
        UserError: see `folder_files`, or a folder of a network has no config.json.
    """
    found = {}
    for model in settings.judge.models:
        key = f"judge.models: {model.name}"
        data_file(settings, str(Path(model.path) / "config.json"), key)
        found[model.name] = _top(folder_files(settings, model.path, key), settings, model.path)
        if model.adapter:
            data_file(settings, str(Path(model.adapter) / "adapter_config.json"), key)
            adapter = folder_files(settings, model.adapter, key)
            found[model.name] += _top(adapter, settings, model.adapter)
    return found


def _top(files: list[str], settings: Settings, path: str) -> list[str]:
    """Those that stand in the folder itself; below it are checkpoints of other steps and the like."""
    return [file for file in files if Path(file).parent == data_root(settings) / path]


def sample_files(settings: Settings) -> dict[str, list[str]]:
    """{name: its item files} of every model that was asked elsewhere.

    Raises:
        UserError: a file or folder is not there, or cannot be read.
    """
    found = {}
    for one in settings.judge.samples:
        key = f"judge.samples: {one.name}"
        if (data_root(settings) / one.path).is_dir():
            files = folder_files(settings, one.path, key, ".jsonl", ".json")
            # The harness writes its results beside its samples.
            logged = [file for file in files if Path(file).name.startswith("samples_")]
            found[one.name] = logged or files
        else:
            found[one.name] = [data_file(settings, one.path, key)]
    return found


def training_files(settings: Settings) -> dict[str, list[str]]:
    """{name: its training data} of the models that say what they were trained on.

    Raises:
        UserError: a file is not there, or cannot be read.
    """
    return {
        one.name: [data_file(settings, path, f"judge: trained_on of {one.name}") for path in one.trained_on]
        for one in settings.judge.everything()
        if one.trained_on
    }
