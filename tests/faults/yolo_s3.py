"""A real S3 API server for the trainer's tests: moto as a process, in an environment of its own."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.store import S3Store

from devcluster.waiting import eventually
from tests.faults.python_environments import free_port, python_environment

BUCKET = "models"
USER = "test"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3:
    """A running server with one empty bucket."""

    environment: dict[str, str]
    """What a client needs: endpoint and credentials."""
    store: S3Store

    def url(self, key: str) -> str:
        """Return a signed URL, from which an object can be had over HTTP for an hour."""
        return obstore.sign(self.store, "GET", key, timedelta(hours=1))

    def get(self, key: str) -> bytes | None:
        """Return an object, or None."""
        try:
            return bytes(obstore.get(self.store, key).bytes())
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes) -> str:
        """Write an object, and return its URI."""
        obstore.put(self.store, key, content)
        return f"s3://{BUCKET}/{key}"


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Serve S3 on a free port for the length of a `with` block; the log goes into `folder`."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with (folder / "s3.log").open("wb") as log:
        command = [str(python_environment("s3-server") / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(lambda: _answers(endpoint), "the S3 server answers", within=60)
            bucket = urllib.request.Request(f"{endpoint}/{BUCKET}", data=b"", method="PUT")
            urllib.request.urlopen(bucket, timeout=10).close()
            store = S3Store(
                BUCKET,
                endpoint=endpoint,
                access_key_id=USER,
                secret_access_key=USER,
                region=REGION,
                client_options={"allow_http": True},
            )
            yield S3(
                {
                    "AWS_ENDPOINT_URL": endpoint,
                    "AWS_ACCESS_KEY_ID": USER,
                    "AWS_SECRET_ACCESS_KEY": USER,
                    "AWS_REGION": REGION,
                },
                store,
            )
        finally:
            process.terminate()
            process.wait()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
