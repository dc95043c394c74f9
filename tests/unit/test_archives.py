"""Archives of an invented benchmark, good and bad."""

import contextlib
import csv
import gzip
import hashlib
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.data import questions
from mcqlora.errors import UserError
from mcqlora.storage import addresses, archives
from tests.helpers.questions import read_layout

PARTS = questions.SPLITS


def table(split, count=3):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([f"{split} {n}?", "one", "two", "three", "four", "A"] for n in range(count))
    return out.getvalue().encode()


FILES = {f"{split}/ferns_{split}.csv": table(split) for split in PARTS}


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


PACKED = {
    "b.zip": zipped(FILES),
    "stored.zip": zipped(FILES, zipfile.ZIP_STORED),
    "b.tar": tarred(FILES),
    "b.tar.gz": tarred(FILES, "w:gz"),
    "B.TGZ": tarred(FILES, "w:gz"),
}


def read(folder: Path, path: str, sha256=None, **options):
    return read_layout(folder, "ferns", "mmlu", path, "en", sha256, **options)


@pytest.fixture
def unpacked(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "b" / name).parent.mkdir(parents=True)
        (tmp_path / "b" / name).write_bytes(content)
    return read(tmp_path, "b")


@pytest.mark.parametrize("name", PACKED)
def test_an_archive_reads_as_its_folder(tmp_path, unpacked, name):
    (tmp_path / name).write_bytes(PACKED[name])
    questions, entries = read(tmp_path, name)
    assert questions == unpacked[0] and len(questions) == 9
    assert [entry.file for entry in entries] == [
        entry.file.replace("b/", f"{name}/", 1) for entry in unpacked[1]
    ]


def test_a_folder_around_and_other_files_do_not_matter(tmp_path, unpacked):
    around = {f"./data/{name}": content for name, content in FILES.items()}
    other = {"data/README.txt": b"x", "data/extra/more.csv": b"y", "__MACOSX/data/dev/._ferns_dev.csv": b"z"}
    (tmp_path / "a.tar.gz").write_bytes(tarred(other | around, "w:gz"))
    assert read(tmp_path, "a.tar.gz")[0] == unpacked[0]


def test_a_bad_row_of_an_archive_is_named(tmp_path):
    bad = FILES | {"test/ferns_test.csv": b"only,two\n"}
    (tmp_path / "bad.zip").write_bytes(zipped(bad))
    with pytest.raises(UserError, match=r"bad\.zip/test/ferns_test\.csv: row 0 \(line 1\): 2 cells"):
        read(tmp_path, "bad.zip")


def test_the_hash_of_a_local_archive_is_compared(tmp_path):
    (tmp_path / "b.zip").write_bytes(PACKED["b.zip"])
    right = hashlib.sha256(PACKED["b.zip"]).hexdigest()
    assert len(read(tmp_path, "b.zip", sha256=right.upper())[0]) == 9
    with pytest.raises(UserError, match=rf"b\.zip: its sha256 is {right}, not 0000"):
        read(tmp_path, "b.zip", sha256="0" * 64)


def linked_tar(kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("dev/ferns_dev.csv")
        info.type, info.linkname = kind, "/etc/hostname"
        archive.addfile(info)
    return out.getvalue()


def linked_zip():
    info = zipfile.ZipInfo("dev/ferns_dev.csv")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped({info: b"/etc/hostname"})


def digits():
    """A tar with an extended header of digits alone, where tarfile looks for a number before a word."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4096
    return info.tobuf() + b"1" * 4096 + tarred(FILES)


def huge_tar():
    info = tarfile.TarInfo("dev/ferns_dev.csv")
    info.size = 1 << 40
    return info.tobuf()


def long_header(kind):
    """A tar whose first header, of a kind that is read whole, says that it has 64 GB."""
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 64 << 30
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tar", long_header(tarfile.XHDTYPE), "a header of 68719476736 bytes"),
        ("a.tar.gz", gzip.compress(long_header(tarfile.GNUTYPE_LONGNAME)), "a header of 68719476736 bytes"),
        ("a.tar", digits(), "a number too long"),
        ("a.tar.gz", gzip.compress(digits()), "a number too long"),
        ("a.zip", zipped(FILES | {f"dev/{'x' * 248}_dev.csv": b"x"}), "a name too long"),
        ("a.tar", tarred(FILES | {f"{'x' * 256}/dev/y_dev.csv": b"x"}), "a name too long"),
        ("a.zip", zipped(FILES | {"../out.csv": b"x"}), "leaves the archive"),
        ("a.zip", zipped(FILES | {"test/..\\..\\out.csv": b"x"}), "leaves the archive"),
        ("a.zip", zipped(FILES | {"/tmp/test/out.csv": b"x"}), "an absolute path"),
        ("a.zip", zipped(FILES | {"C:\\test\\out.csv": b"x"}), "an absolute path"),
        ("a.tar", tarred(FILES | {"../test/out_test.csv": b"x"}), "leaves the archive"),
        ("a.tar.gz", tarred(FILES | {"/test/out_test.csv": b"x"}, "w:gz"), "an absolute path"),
        ("a.zip", linked_zip(), "a link or a device"),
        ("a.tar", linked_tar(tarfile.SYMTYPE), "a link or a device"),
        ("a.tar", linked_tar(tarfile.LNKTYPE), "a link or a device"),
        ("a.tar", linked_tar(tarfile.FIFOTYPE), "a link or a device"),
        ("a.tar", huge_tar(), "1099511627776 bytes, more than"),
        ("a.zip", zipped(FILES | {"more/dev/x_dev.csv": b"x"}), r"both \./ and more/ hold files of it"),
        ("a.tar", tarred(FILES)[:3072] + tarred(FILES), "is in it twice"),
        ("a.zip", b"", "damaged or no archive"),
        ("a.zip", b"<html>log in</html>", "damaged or no archive"),
        ("a.tar.gz", b"<html>log in</html>", "damaged or no archive"),
        ("a.zip", zipped({"README.txt": b"x"}), "no file fits .* it holds no file of rows"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_one_line_and_nothing_lands_outside(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=said) as error:
        read(tmp_path, name)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{tmp_path / name}: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bomb_that_hides_its_size_writes_no_more_than_it_says(tmp_path):
    name = "dev/ferns_dev.csv"
    raw = bytearray(zipped(FILES | {name: bytes(1 << 26)}))
    size = (1 << 26).to_bytes(4, "little")
    for start in (raw.index(b"PK\x01\x02"), 0):  # in the table, and before the data
        place = raw.index(size, start)
        raw[place : place + 4] = (100).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UserError, match=r"a\.zip: damaged or no archive \(Bad CRC-32"):
        read(tmp_path, "a.zip")


def test_all_members_together_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "TOTAL_BYTES", 100)
    (tmp_path / "a.zip").write_bytes(PACKED["b.zip"])
    with pytest.raises(UserError, match="bytes in all, more than 100"):
        read(tmp_path, "a.zip")


def empty_members(count, kind=tarfile.REGTYPE):
    """A tar of many members without content: 300,000 are 150 MB, and a few hundred KB compressed."""
    info = tarfile.TarInfo("data/more")
    info.type = kind
    return info.tobuf() * count + bytes(1024)


def sparse(blocks):
    """A tar of one file whose table of holes has many blocks, each of which says that one more follows."""
    info = tarfile.TarInfo("dev/ferns_dev.csv")
    info.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[482] = 1
    head[148:156] = b"%06o\0 " % tarfile.calc_chksums(head)[0]
    return bytes(head) + (b"00000000000\0" * 42 + b"\1" + bytes(7)) * blocks


def long_names(count):
    """A tar of one file with that many long names, of which the last counts."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, archives.HEADER_BYTES
    return (info.tobuf(tarfile.GNU_FORMAT) + b"y" * info.size) * count


def named(count, name="data/{}"):
    return zipped({name.format(number): b"" for number in range(count)}, zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar.gz", gzip.compress(empty_members(300_000), 1)),
        ("a.tgz", gzip.compress(empty_members(archives.MEMBERS + 1), 1)),
        ("a.tar", empty_members(archives.MEMBERS + 1, tarfile.DIRTYPE)),
        ("a.zip", named(archives.MEMBERS + 1)),
        ("a.zip", named(archives.MEMBERS + 1, "data/{}/")),
    ],
    ids=["tar.gz", "tgz", "folders", "zip", "zip of folders"],
)
def test_an_archive_of_too_many_members_is_refused_at_the_first_too_many(
    tmp_path, monkeypatch, name, content
):
    met = []
    for kind in (tarfile.TarInfo, zipfile.ZipInfo):

        def made(self, *arguments, start=kind.__init__):
            met.append(self)
            start(self, *arguments)

        monkeypatch.setattr(kind, "__init__", made)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UserError, match=r"more than 10000 members, or .* names and times; pack the benchmark's"
    ):
        read(tmp_path, name)
    assert len(met) == archives.MEMBERS + 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", named(1000, "data/" + "x" * 30_000 + "{}")),
        ("a.tar.gz", gzip.compress(sparse(300_000), 1)),
        ("a.tar", sparse(50_000)),
    ],
    ids=["names of a zip", "sparse tar.gz", "sparse tar"],
)
def test_names_and_tables_of_an_archive_have_a_limit(tmp_path, monkeypatch, name, content):
    taken = []
    read_all = archives._Pieces.read
    monkeypatch.setattr(
        archives._Pieces, "read", lambda self, size=-1: taken.append(size) or read_all(self, size)
    )
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UserError, match="more than 10000 members, or 20480000 bytes of their names and times"
    ):
        read(tmp_path, name)
    assert sum(taken) <= archives.TABLE_BYTES + archives.HEADER_BYTES
    assert archives.opens(str(tmp_path / name), addresses.suffix(name))


def test_a_name_given_again_and_again_is_no_archive(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(long_names(3_000), 1))
    with pytest.raises(UserError, match=r"damaged or no archive|more than 10000 members"):
        read(tmp_path, "a.tar.gz")


def test_an_archive_of_as_many_members_as_may_be(tmp_path, unpacked):
    more = {f"other/{number}.txt": b"" for number in range(archives.MEMBERS - len(FILES))}
    (tmp_path / "a.zip").write_bytes(zipped(FILES | more, zipfile.ZIP_STORED))
    assert read(tmp_path, "a.zip")[0] == unpacked[0]
    (tmp_path / "a.tar").write_bytes(tarred(FILES | more))
    assert read(tmp_path, "a.tar")[0] == unpacked[0]


@given(name=st.sampled_from(sorted(PACKED)), data=st.data())
def test_a_cut_archive_never_loses_rows_silently(tmp_path_factory, name, data):
    whole = PACKED[name]
    folder = tmp_path_factory.mktemp("cut")
    (folder / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        questions, _ = read(folder, name)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert len(questions) == 9  # only the padding after the end was lost


@given(name=st.sampled_from(sorted(PACKED)), data=st.data())
def test_a_mangled_archive_is_a_user_error_or_reads(tmp_path_factory, name, data):
    raw = bytearray(PACKED[name])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("mangled")
    (folder / name).write_bytes(raw)
    try:
        read(folder, name, on_bad_row="drop")
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("index", range(1, 23))
@pytest.mark.parametrize("value", [1, 255])
def test_a_wrong_end_of_a_zip_is_a_user_error_or_reads(tmp_path, index, value):
    raw = bytearray(PACKED["b.zip"])
    raw[-index] = value  # in the end record: where its table starts, how long it is
    (tmp_path / "b.zip").write_bytes(raw)
    with contextlib.suppress(UserError):
        read(tmp_path, "b.zip", on_bad_row="drop")


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("a/b.zip", ".zip"),
        ("b.TAR.GZ", ".tar.gz"),
        ("https://example.org/a.tgz?download=1", ".tgz"),
        ("s3://bucket/folder/a.tar", ".tar"),
        ("https://example.org/?file=a.zip", ""),
        ("mmlu", ""),
        ("mmlu.csv", ""),
    ],
)
def test_suffix(path, ending):
    assert addresses.suffix(path) == ending


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar", ".zip"])
def test_a_broken_file_opens_as_nothing(tmp_path, ending):
    (tmp_path / "whole").mkdir()
    whole = shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path / "whole")
    broken = tmp_path / "broken"
    broken.write_bytes(Path(whole).read_bytes()[:20])
    assert not archives.opens(str(broken), ending)


def test_an_address_that_is_none_has_an_ending():
    assert addresses.suffix("https://[foo/x.zip?a=b.tar") == ".zip"
