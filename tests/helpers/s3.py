"""A real S3 server on the loopback address (SeaweedFS, its own process) and a proxy that cuts connections."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mcqlora.launch.msrun import die_with_parent, free_port

KEY, SECRET = "TESTACCESSKEY", "test/secret+that-is-nowhere-to-be-found"
BUCKET = "shelf"
DOMAIN = "s3.test"  # a bucket may also be named before it: shelf.s3.test


class Server:
    """Its `endpoint`, and a client that is not the one under test."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(
                retries={"max_attempts": 0},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, key: str, data: bytes) -> str:
        """Store an object and return its address."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def objects(self, prefix: str = "") -> dict[str, str]:
        """When each object was last written, by its key below `prefix`."""
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {found["Key"].removeprefix(prefix): found["LastModified"].isoformat() for found in listed}

    def unfinished(self, prefix: str = "") -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
        return [upload["Key"] for upload in found]


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Start the server with its data in `folder`, wait until it takes an object, and end it."""
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = {name: free_port() for name in names}
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}",
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in ports.items()),
        *("-s3", f"-s3.config={folder}/identities.json", "-s3.autoCreateBucket=false"),
        f"-s3.domainName={DOMAIN}",
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # fixed ports, which two servers would share
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"),
        *(f"-{part}.localSocket={folder}/{part}.sock" for part in ("filer", "s3")),
    ]
    with (
        open(folder / "server.log", "w") as log,
        subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent, cwd=folder
        ) as process,
    ):
        try:
            server = Server(ports["s3.port"])
            _wait(server, process, folder / "server.log")
            yield server
        finally:
            process.kill()  # its orderly end takes half a minute
            process.wait()
            for port in ports.values():
                for socket_file in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # fixed by the server
                    socket_file.unlink(missing_ok=True)


def _wait(server: Server, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            server.client.create_bucket(Bucket=BUCKET)
            server.put("first", b"1")
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no S3 server: {log.read_text()[-2000:]}") from None
            time.sleep(0.2)


class Cutter:
    """A TCP proxy that closes a connection once `after` bytes went one way through it.

    Args:
        way: "up" to the server or "down" from it.
        times: connections that are cut; the others pass. None: every one.
    """

    def __init__(self, endpoint: str, after: int, way: str, times: int | None = None) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self.target, self.after, self.way, self.left = (host, int(port)), after, way, times
        self.cut = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self) -> Cutter:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                for source, target, way in ((near, far, "up"), (far, near, "down")):
                    threading.Thread(target=self._pass, args=(source, target, way), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if way == self.way and passed + len(data) > self.after and self._takes():
                    target.sendall(data[: self.after - passed])
                    break
                target.sendall(data)
                passed += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other thread, which closes its own
        source.close()

    def _takes(self) -> bool:
        with self.lock:
            if self.left == 0:
                return False
            self.left = None if self.left is None else self.left - 1
            self.cut += 1
            return True
