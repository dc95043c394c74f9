"""Passwords and tokens in addresses: in no file that a run leaves, Snakemake's own among them."""

import base64
import http.server
import threading
import zipfile

import pytest

from mcqlora import demo, files
from tests.helpers.runs import only_line, setting, snakemake

PASSWORD, TOKEN, KEPT = "open-s3same-1", "t0ken-s3same-2", "netrc-s3same-3"
GUARDS = {"/island.zip": f"me:{PASSWORD}", "/dev.json": f"you:{KEPT}"}


class Server(http.server.SimpleHTTPRequestHandler):
    """Gives a file to whoever shows what it asks for."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        wanted = "Basic " + base64.b64encode(GUARDS.get(path, "").encode()).decode()
        right = self.headers.get("Authorization") == wanted if path in GUARDS else query == f"sig={TOKEN}"
        return super().do_GET() if right else self.send_error(403)

    def log_message(self, *_):
        pass


@pytest.fixture
def host(tmp_path):
    folder = tmp_path / "served"
    demo.write(tmp_path / "data", seed=1, repeats=1)
    folder.mkdir()
    with zipfile.ZipFile(folder / "island.zip", "w") as packed:
        for path in sorted((tmp_path / "data/island_en").rglob("*.csv")):
            packed.write(path, path.relative_to(tmp_path / "data/island_en"))
    (folder / "t.model").write_bytes(b"model")
    (folder / "dev.json").write_bytes(b"{}")

    def serve(*arguments):
        return Server(*arguments, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()


def found(folder, texts):
    """The places that hold one of the secrets: files below `folder`, or what was printed."""
    secrets = [secret.encode() for secret in (PASSWORD, TOKEN, KEPT)]
    held = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    held |= {f"output {n}": text.encode() for n, text in enumerate(texts)}
    assert len(held) > len(texts)
    return [name for name, text in held.items() if any(secret in text for secret in secrets)]


@pytest.mark.integration
def test_secrets_of_the_environment_and_of_netrc_are_nowhere(tmp_path, host, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login you password {KEPT}")
    netrc.chmod(0o600)
    for name, value in {"PASSWORD": PASSWORD, "SIG": TOKEN, "NETRC": str(netrc)}.items():
        monkeypatch.setenv(name, value)
    archive = f"http://me:${{PASSWORD}}@{host}/island.zip"
    model, reading = f"http://{host}/t.model?sig=${{SIG}}", f"http://{host}/dev.json"
    config = [
        f"data={tmp_path}",
        f"benchmarks=[{{name: island, layout: mmlu, language: en, path: '{archive}'}}]",
        f"tokenizer={{path: '{model}'}}",
        setting(f"evaluate.squad={reading}"),
        setting("base.text=train"),
    ]
    made, run = ("questions.jsonl", "downloads/tokenizer.model", "downloads/reading.json"), tmp_path / "run"
    run.mkdir()
    targets = [f"results/tiny/{name}" for name in made]
    first = snakemake(run, "--cores", "2", *targets, "--config", *config)
    assert first.returncode == 0, first.stderr
    assert len(list(files.read_jsonl(run / targets[0]))) > 100
    assert [(run / target).read_bytes() for target in targets[1:]] == [b"model", b"{}"]
    monkeypatch.setenv("SIG", f"{TOKEN}-not")
    again = snakemake(run, "--cores", "1", targets[1], "--forcerun", "fetch", "--config", *config)
    assert f"http://{host}/t.model: the server answers 403; give user and password in" in only_line(again)
    assert found(run, [first.stdout, first.stderr, again.stdout, again.stderr]) == []


@pytest.mark.parametrize(
    "address",
    [f"https://me:{PASSWORD}@host/t.model", f"https://host/t.model?X-Amz-Signature={TOKEN}"],
)
def test_a_secret_in_an_address_is_refused_before_anything_is_kept(tmp_path, address):
    result = snakemake(tmp_path, "--cores", "1", "--config", f"tokenizer={{path: '{address}'}}")
    assert "tokenizer.path: https://host/t.model has a " in only_line(result)
    odd = snakemake(tmp_path, "--cores", "1", "--config", f"tokenizer={{path: {address}, ]")  # no YAML
    assert "tokenizer: '{path: https://... ]' should be a section of keys" in only_line(odd)
    assert found(tmp_path, [result.stdout, result.stderr, odd.stdout, odd.stderr]) == []
