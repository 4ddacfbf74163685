"""A real MLflow tracking server for the trainer's tests, as a process in a Python environment apart."""

import os
import subprocess
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from devcluster.waiting import eventually
from tests.faults.python_environments import free_port, python_environment, without_pythonpath

USER, PASSWORD = "admin", "a-long-enough-password"


@dataclass
class MlflowServer:
    """One server, with its data in a folder; it can be stopped and started again on the same port."""

    folder: Path
    with_users: bool = False
    """Whether it has MLflow's basic authentication, with one administrator."""
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "MlflowServer":
        """Start the server and wait until it answers."""
        python = python_environment("mlflow-server") / "bin" / "python"
        environment = {**without_pythonpath(), "MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(self.folder)}
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += ["--backend-store-uri", f"sqlite:///{self.folder}/runs.db"]
        options += ["--artifacts-destination", str(self.folder / "artifacts")]
        if self.with_users:
            config = self.folder / "auth.ini"
            config.write_text(
                "[mlflow]\ndefault_permission = READ\nadmin_username = "
                f"{USER}\nadmin_password = {PASSWORD}\ndatabase_uri = sqlite:///{self.folder}/users.db\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            environment |= {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests"}
            options += ["--app-name", "basic-auth"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(python), "-m", "mlflow", "server", *options],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, "the MLflow server answers", within=120)
        return self

    def stop(self) -> None:
        """Stop the server and its workers."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        token = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(f"{self.uri}/health", headers={"Authorization": f"Basic {token}"})
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError:
            return False
        return True

    def runs(self, experiment: str) -> list[Run]:
        """Return all runs of an experiment."""
        client = MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(experiment)
        return [] if found is None else list(client.search_runs([found.experiment_id]))

    def history(self, run: Run) -> dict[str, list[tuple[int, float]]]:
        """Return each metric's points, as steps and values."""
        client = MlflowClient(tracking_uri=self.uri)
        return {
            name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }

    def delete_experiment(self, name: str) -> None:
        """Make an experiment and delete it: its name stays taken."""
        client = MlflowClient(tracking_uri=self.uri)
        client.delete_experiment(client.create_experiment(name))

    def artifacts(self, run: Run) -> set[str]:
        """Return the names of all uploaded files."""
        client = MlflowClient(tracking_uri=self.uri)
        found: set[str] = set()
        folders: list[Any] = [None]
        while folders:
            for item in client.list_artifacts(run.info.run_id, folders.pop()):
                folders.append(item.path) if item.is_dir else found.add(item.path)
        return found
