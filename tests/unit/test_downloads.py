"""Downloads from servers of our own: plain HTTP, good and bad, and S3."""

import base64
import hashlib
import http.server
import json
import threading

import pytest

from mcqlora import hashing
from mcqlora.errors import UserError
from mcqlora.interop.download import fetch_folder
from mcqlora.storage import addresses, archives
from mcqlora.storage.downloads import Source, fetch
from mcqlora.storage.s3 import ENVIRONMENT, Service, client
from tests.helpers.s3 import BUCKET, Cutter
from tests.unit.test_archives import FILES, tarred, zipped

PACKED = {"b.zip": zipped(FILES), "b.tar.gz": tarred(FILES, "w:gz")}
BIG = bytes(range(256)) * (1 << 16)  # 16 MiB: fetched in parts


class Server(http.server.BaseHTTPRequestHandler):
    """Serves the archives whole, or as badly as the first part of the path says."""

    def do_GET(self):
        how, name = self.path.split("?")[0].strip("/").split("/")
        body = b"<html>log in</html>" if how == "page" else PACKED.get(name)
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        if how == "chunked" or how == "cut-chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
            if how == "chunked":
                self.wfile.write(b"0\r\n\r\n")
        else:
            if how != "silent":
                self.send_header("Content-Length", str(len(body)))
            if how == "packed":  # a server that calls the archive's own compression an encoding
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if how == "cut" else body)
        self.close_connection = True

    def log_message(self, *_):
        pass

    protocol_version = "HTTP/1.1"


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class Guarded(Server):
    """Gives nothing without the right user and password, or the right token."""

    def do_GET(self):
        right = "Basic " + base64.b64encode(b"me:open/sesame").decode()
        if self.headers.get("Authorization") == right or self.path.endswith("?token=a%2Fb"):
            return super().do_GET()
        return self.send_error(401)


@pytest.fixture(scope="module")
def guarded():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}/whole/b.zip"
        running.shutdown()


@pytest.mark.parametrize("form", ["http://me:${WORD}@{}", "http://${BOTH}@{}", "http://{}?token=${TOKEN}"])
def test_a_secret_comes_from_the_environment(tmp_path, monkeypatch, guarded, form):
    variables = {"WORD": "open%2Fsesame", "BOTH": "me:open%2Fsesame", "TOKEN": "a%2Fb\n"}
    address = form.replace("{}", guarded)
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=rf"^http://{guarded}: \w+ is not set in the environment; export it$"):
        fetch(Source(address), tmp_path / "b.zip")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fetch(Source(address), tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == PACKED["b.zip"]
    for name in variables:
        monkeypatch.setenv(name, "wrong")
    with pytest.raises(UserError, match=rf"^http://{guarded}: the server answers 401; .* ~/\.netrc") as error:
        fetch(Source(address), tmp_path / "b.zip")
    assert "wrong" not in str(error.value)


def test_a_secret_comes_from_netrc(tmp_path, monkeypatch, guarded):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password open/sesame\n")
    (tmp_path / ".netrc").chmod(0o600)
    fetch(Source(f"http://{guarded}"), tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == PACKED["b.zip"]
    monkeypatch.setenv("WRONG", "wrong")
    with pytest.raises(UserError, match="the server answers 401"):  # the address' own win
        fetch(Source(f"http://me:${{WRONG}}@{guarded}"), tmp_path / "b.zip")


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("how", ["whole", "chunked", "packed"])
def test_fetch(tmp_path, server, name, how):
    fetch(Source(f"{server}/{how}/{name}?token=1"), tmp_path / "down" / name)
    assert (tmp_path / "down" / name).read_bytes() == PACKED[name]


def test_a_server_that_tells_no_length_needs_the_hash(tmp_path, server):
    right = hashlib.sha256(PACKED["b.zip"]).hexdigest()
    fetch(Source(f"{server}/silent/b.zip", right), tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == PACKED["b.zip"]


@pytest.mark.parametrize(
    ("path", "sha256", "said"),
    [
        ("cut/b.zip", None, "the download failed after"),
        ("cut-chunked/b.zip", None, "the download failed after"),
        ("whole/b.zip", "0" * 64, "its sha256 is .*, not 0000"),
        ("silent/b.zip", None, "tells no length; give the sha256"),
        ("silent/b.zip", "0" * 64, "its sha256 is .*, not 0000"),
        ("whole/none.zip", None, "the server answers 404; mend the URL"),
        ("page/b.zip", None, r"no \.zip archive"),
        ("page/b.tar.gz", None, r"no \.tar\.gz archive"),
    ],
)
def test_a_failed_download_leaves_nothing(tmp_path, server, path, sha256, said):
    url = f"{server}/{path}?token=secret"
    with pytest.raises(UserError, match=said) as error:
        fetch(Source(url, sha256), tmp_path / "b.zip")
    message = str(error.value)
    assert message.startswith(f"{server}/{path}: ") and "secret" not in message and "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_keeps_the_earlier_one(tmp_path, server):
    fetch(Source(f"{server}/whole/b.zip"), tmp_path / "b.zip")
    with pytest.raises(UserError):
        fetch(Source(f"{server}/cut/b.zip"), tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == PACKED["b.zip"]


def test_no_server_and_too_large(tmp_path, server, monkeypatch):
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/b\.zip: the download failed after 0 bytes"):
        fetch(Source("http://user:secret@127.0.0.1:1/b.zip"), tmp_path / "b.zip")
    monkeypatch.setattr(archives, "TOTAL_BYTES", 10)
    with pytest.raises(UserError, match="more than the 10 bytes"):
        fetch(Source(f"{server}/whole/b.zip"), tmp_path / "b.zip")
    assert list(tmp_path.iterdir()) == []


def only_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


def test_fetch_from_a_bucket(tmp_path, s3):
    address = s3.put("data/b.zip", PACKED["b.zip"])
    right = hashlib.sha256(PACKED["b.zip"]).hexdigest()
    fetch(Source(address, right, Service(s3.endpoint)), tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == PACKED["b.zip"]


def test_the_endpoint_may_come_from_the_environment(tmp_path, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    fetch(Source(s3.put("data/one", b"1"), None, ENVIRONMENT), tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("key", "content", "sha256", "said"),
    [
        ("b.zip", PACKED["b.zip"], "0" * 64, "its sha256 is .*, not 0000"),
        ("page.zip", b"<html>", None, r"no \.zip archive"),
        ("none.zip", None, None, "no such object; mend the address"),
    ],
)
def test_what_is_wrong_in_a_bucket_is_one_line_and_leaves_nothing(tmp_path, s3, key, content, sha256, said):
    address = s3.put(f"bad/{key}", content) if content else f"s3://{BUCKET}/bad/{key}"
    with pytest.raises(UserError, match=said) as error:
        fetch(Source(address, sha256, Service(s3.endpoint)), tmp_path / key)
    assert only_line(error).startswith(f"{address}: ") and list(tmp_path.iterdir()) == []


def test_a_missing_bucket_and_a_dead_endpoint(tmp_path, s3):
    place = Service(s3.endpoint)
    address = s3.put("data/one", b"1")
    with pytest.raises(UserError, match=r"^s3://nowhere/one: no such bucket; create it"):
        fetch(Source("s3://nowhere/one", None, place), tmp_path / "one")
    with pytest.raises(UserError, match=r"the connection failed \(EndpointConnectionError\)"):
        fetch(Source(address, None, Service("http://127.0.0.1:1")), tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_wrong_and_no_credentials_are_one_line_without_them(tmp_path, s3, monkeypatch):
    address = s3.put("data/one", b"1")

    def refused():
        client.cache_clear()
        with pytest.raises(UserError) as error:
            fetch(Source(address, None, Service(s3.endpoint)), tmp_path / "one")
        return only_line(error).removeprefix(f"{address}: ")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong/secret")
    assert refused() == (
        "the service answers 403 (SignatureDoesNotMatch); look at the credentials, "
        "and at what they may do with this bucket"
    )
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials; set AWS_ACCESS_KEY_ID" in refused()  # a half of them
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert refused().startswith("no credentials; set AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert refused() == "s3: boto3 refuses (ProfileNotFound); look at s3.endpoint, s3.region and AWS_PROFILE"
    assert list(tmp_path.iterdir()) == []


def test_a_connection_cut_once_is_no_matter(tmp_path, s3):
    address = s3.put("data/big", BIG)
    with Cutter(s3.endpoint, 3_000_000, "down", times=1) as proxy:
        fetch(Source(address, None, Service(proxy.endpoint)), tmp_path / "big")
    assert proxy.cut == 1 and (tmp_path / "big").read_bytes() == BIG


def test_a_connection_cut_always_is_one_line_and_leaves_nothing(tmp_path, s3):
    address = s3.put("data/big", BIG)
    with (
        Cutter(s3.endpoint, 3_000_000, "down") as proxy,
        pytest.raises(UserError, match="the connection failed") as error,
    ):
        fetch(Source(address, None, Service(proxy.endpoint)), tmp_path / "big")
    assert proxy.cut > 1 and only_line(error).startswith(address) and list(tmp_path.iterdir()) == []


def test_more_bytes_than_expected_are_not_taken(tmp_path, s3):
    with pytest.raises(UserError, match="16777216 bytes, more than the 5"):
        fetch(Source(s3.put("data/big", BIG), None, Service(s3.endpoint)), tmp_path / "big", limit=5)
    assert list(tmp_path.iterdir()) == []


def network(put, index):
    """Store a small Hugging Face folder's files; returns its address and hashes."""
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    if index:
        shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
        names = dict.fromkeys(shards.values(), b"shard")
        files = {"config.json": b"{}", **names}
        files["model.safetensors.index.json"] = json.dumps({"weight_map": shards}).encode()
    for name, data in files.items():
        put(name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


@pytest.mark.parametrize("index", [False, True])
def test_a_network_from_a_bucket(tmp_path, s3, index):
    folder = f"network-{index}"
    hashes = network(lambda name, data: s3.put(f"{folder}/{name}", data), index)
    fetch_folder(f"s3://{BUCKET}/{folder}/", tmp_path / "base", hashes, Service(s3.endpoint))
    assert {path.name: hashing.sha256(path) for path in (tmp_path / "base").iterdir()} == hashes
    with pytest.raises(UserError, match=r"base\.sha256: more\.bin is not among the files"):
        fetch_folder(
            f"s3://{BUCKET}/{folder}", tmp_path / "again", {"more.bin": "0" * 64}, Service(s3.endpoint)
        )
    with pytest.raises(UserError, match="its sha256 is"):
        fetch_folder(
            f"s3://{BUCKET}/{folder}", tmp_path / "bad", {"config.json": "0" * 64}, Service(s3.endpoint)
        )


def test_a_network_without_weights(tmp_path, s3):
    s3.put("empty/config.json", b"{}")
    with pytest.raises(UserError, match=r"no model\.safetensors or pytorch_model\.bin"):
        fetch_folder(f"s3://{BUCKET}/empty", tmp_path / "base", {}, Service(s3.endpoint))


def test_a_network_by_http(tmp_path):
    (tmp_path / "served").mkdir()
    hashes = network(lambda name, data: (tmp_path / "served" / name).write_bytes(data), index=True)

    class Folder(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "served"))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Folder) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}?token=1"
        fetch_folder(address, tmp_path / "base", hashes)
        running.shutdown()
    assert {path.name: hashing.sha256(path) for path in (tmp_path / "base").iterdir()} == hashes


@pytest.mark.parametrize(
    ("folder", "name", "joined"),
    [
        ("s3://bucket/a/", "b/c", "s3://bucket/a/b/c"),
        ("s3://bucket", "b", "s3://bucket/b"),
        ("https://host/a?t=1", "b c", "https://host/a/b%20c?t=1"),
        ("https://host", "b", "https://host/b"),
    ],
)
def test_join(folder, name, joined):
    assert addresses.join(folder, name) == joined


def test_beside():
    assert addresses.beside("s3://bucket/a/manifest.json", "b/c") == "s3://bucket/a/b/c"
    assert addresses.beside("https://host/a/manifest.json?t=1", "b") == "https://host/a/b?t=1"
