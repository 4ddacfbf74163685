"""The adapter's settings, all from the environment. `relay-adapter --help` prints them from here."""

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from residency.settings import ResidentSettings


class Settings(ResidentSettings):
    """The adapter's settings. Names are the environment's, in lower case and without the prefix `RELAY_ADAPTER_`."""

    model_config = SettingsConfigDict(env_prefix="RELAY_ADAPTER_")

    profile: str = Field(description="name of a profile that comes with the adapter, or a file with one of your own")
    model: str = Field("", max_length=500, description="name of the model, for profiles that have `{model}`")
    engine: str = Field("http://127.0.0.1:8080", description="URL of the engine, which only the adapter should reach")
    proxy_port: int = Field(8001, ge=1, le=65535, description="port on which clients reach the engine")
    while_held: Literal["refuse", "wait"] = Field(
        "refuse",
        description="requests while the GPU is lent out: refuse at once; or wait for a turn that is about to end",
    )
    call_timeout: float = Field(60.0, gt=0, description="seconds for one call of the profile to the engine")
    load_calls_timeout: float = Field(600.0, gt=0, description="seconds for a call that loads the model")
    request_timeout: float = Field(
        0.0, ge=0, description="seconds for which the engine may send nothing of an answer; 0: without limit"
    )

    @field_validator("engine")
    @classmethod
    def _is_url(cls, value: str) -> str:
        url = value.rstrip("/")
        if not url.startswith(("http://", "https://")) or "?" in url or "#" in url:
            raise ValueError(f"{value} must be a URL such as http://127.0.0.1:8080")
        return url
