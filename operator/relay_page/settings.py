"""The page's settings, read from the environment (`GPU_RELAY_PAGE_…`)."""

import ssl
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PageSettings(BaseSettings):
    """Each field is set by `GPU_RELAY_PAGE_<FIELD IN CAPITALS>`."""

    model_config = SettingsConfigDict(env_prefix="GPU_RELAY_PAGE_", extra="ignore", use_attribute_docstrings=True)

    api_server: str = Field(default="https://kubernetes.default.svc", pattern=r"^https://[^/]+$")
    """The Kubernetes API that viewers' tokens are sent to."""
    ca_file: Path = Path("/etc/gpu-relay-page/ca.crt")
    """Certificates that the API server is known by (PEM)."""
    namespace: str = Field(default="gpu-relay", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Namespace of the operator, where the Leases of the GPUs are."""
    address: str = "0.0.0.0"
    """Address to listen on."""
    port: int = Field(default=8082, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    viewers: int = Field(default=100, ge=1, le=10_000)
    """Pages that may follow the cluster at the same time; each keeps three watches open at the API server."""

    log_format: str = Field(default="text", pattern="^(text|json)$")
    """`text` for people, `json` for log collectors."""

    def tls(self) -> ssl.SSLContext:
        """Return how to know the API server.

        Raises:
            ValueError: the certificates cannot be read.

        """
        try:
            return ssl.create_default_context(cafile=str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"GPU_RELAY_PAGE_CA_FILE={self.ca_file}: {error}") from error
