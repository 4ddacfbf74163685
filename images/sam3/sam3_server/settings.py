"""Settings, all from the environment. `sam3-server --help` prints them from here."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1 << 20
_SHORTEST_IDLE = 10.0


class Settings(BaseSettings):
    """The server's settings. Names are the environment's, in lower case and without the prefix `SAM3_`."""

    model_config = SettingsConfigDict(env_prefix="SAM3_", env_ignore_empty=True, extra="ignore", populate_by_name=True)

    model: Path = Field(
        description="folder of the model, as save_pretrained writes it (facebook/sam3, or make-tiny-model)"
    )
    gpu_memory_mib: int = Field(
        14000,
        ge=0,
        description="GPU memory in MiB that a load must find free and the worker may then take; 0 computes on the CPU",
    )
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        "auto",
        description="precision of the image and text encoders; boxes and scores are always computed in float32. auto: "
        "float16 on a GPU, float32 where its numbers overflow and on the CPU; bfloat16 costs precision",
    )
    preload: bool = Field(
        False,
        description="load at start, and again after the worker died, without a request; as with any load, "
        "only while the memory is free and the GPU is not lent out",
    )
    ready_when: Literal["serving", "loaded"] = Field(
        "serving",
        description="what decides /ready. serving: the server answers, with 503 while the GPU is lent out; loaded: the "
        "model is on the device (needs SAM3_PRELOAD=true)",
    )
    idle_unload: float = Field(
        0.0,
        ge=0,
        le=7 * 24 * 3600,
        description="seconds without a request after which the model is unloaded, 10 at least; the next request loads "
        "it, from the standby, as memory allows; 0: never",
    )
    standby: bool = Field(
        True,
        description="keep a process that has done the imports of workers, and while the GPU is lent out a standby "
        "with the weights in host memory",
    )
    host_reserve_mib: int = Field(
        1024, ge=0, description="host memory in MiB that must stay free; otherwise no standby is started"
    )
    while_held: Literal["refuse", "wait", "cpu"] = Field(
        "refuse",
        description="requests while the GPU is lent out: refuse at once; wait for a turn that is about to end; "
        "or answer from the CPU (slowly, with the header SAM3-Degraded: cpu)",
    )
    held_wait: float = Field(10.0, gt=0, le=300, description="seconds that SAM3_WHILE_HELD=wait waits at most")
    hold_file: Path | None = Field(
        None, description="file in which a hold is kept, so that a server restarted during a turn knows of it"
    )
    control_token_file: Path | None = Field(None, description="control calls need the token in this file")
    control_service_accounts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="control calls need a Kubernetes token of one of these, as namespace:name, separated by commas"
    )
    control_audience: str = Field("gpu-relay", min_length=1, description="audience such a token must be made for")
    control: Literal["token", "open"] = Field("token", description="open: every client may unload and load")
    max_image_mib: int = Field(32, ge=1, description="largest upload, in MiB")
    max_image_pixels: int = Field(50_000_000, ge=1, description="most pixels of an image, width times height")
    max_in_flight: int = Field(16, ge=1, description="inference requests in flight at a time; more are answered 503")
    max_per_client: int | None = Field(
        None,
        ge=1,
        description="of those, from one address (IPv6: one /64 network); more are answered 429; "
        "by default three quarters of SAM3_MAX_IN_FLIGHT",
    )
    max_connections: int = Field(256, ge=4, description="open connections; a quarter of them may come from one address")
    max_prompts: int = Field(32, ge=1, le=1000, description="prompts in one request")
    max_instances: int = Field(200, ge=1, description="most instances returned for one prompt, the best")
    max_mask_megapixels: int = Field(
        4000,
        ge=1,
        description="megapixels of all masks of one request together (instances times pixels); each prompt has an "
        "equal share of them, for its best instances",
    )
    cached_images: int = Field(
        2, ge=0, description="images whose features the worker keeps, so that further prompts on them are fast"
    )
    load_timeout: float = Field(
        180.0, gt=0, description="seconds to import and read the weights, and as many to attach"
    )
    request_timeout: float = Field(
        120.0,
        gt=0,
        description="seconds for one image; after three quarters of them the worker cancels the request between two "
        "prompts or masks (422), after all of them it is ended as stuck",
    )
    cpu_load_timeout: float = Field(
        900.0,
        gt=0,
        description="SAM3_WHILE_HELD=cpu: seconds to read the weights and pass a probe inference on the CPU",
    )
    cpu_request_timeout: float = Field(
        900.0, gt=0, description="SAM3_WHILE_HELD=cpu: SAM3_REQUEST_TIMEOUT of the worker on the CPU"
    )
    decode_timeout: int = Field(
        10, ge=1, description="seconds of CPU time to parse a request and decode its image; more are answered 422"
    )
    transfer_timeout: float = Field(
        60.0, gt=0, description="seconds for a request's body to arrive, and for its answer to be received"
    )
    kill_grace: float = Field(3.0, ge=0, description="seconds between SIGTERM and SIGKILL for the worker")
    shutdown_timeout: int = Field(20, ge=0, description="seconds to finish requests after SIGTERM")
    bind_address: str = Field("0.0.0.0", validation_alias="BIND_ADDRESS", description="address to listen on")
    http_port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level of the JSON log")

    @property
    def places_per_client(self) -> int:
        """Requests that one client may have in flight."""
        return self.max_per_client or max(1, self.max_in_flight * 3 // 4)

    @field_validator("control_service_accounts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(filter(None, (part.strip() for part in value.split(","))))
        return value

    @field_validator("control_service_accounts")
    @classmethod
    def _namespaced(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for account in value:
            if account.count(":") != 1 or account.startswith(":") or account.endswith(":"):
                raise ValueError(f"{account!r} must be written namespace:name")
        return value

    @field_validator("model")
    @classmethod
    def _is_model(cls, value: Path) -> Path:
        if not (value / "config.json").is_file():
            raise ValueError(f"{value} has no config.json; point it at a folder that save_pretrained has written")
        return value

    @model_validator(mode="after")
    def _one_control(self) -> "Settings":
        ways = [
            bool(self.control_token_file),
            bool(self.control_service_accounts),
            self.control == "open",
        ]
        if sum(ways) != 1:
            raise ValueError(
                "choose who may unload and load with exactly one of SAM3_CONTROL_TOKEN_FILE, "
                "SAM3_CONTROL_SERVICE_ACCOUNTS (namespace:name) and SAM3_CONTROL=open"
            )
        return self

    @field_validator("idle_unload")
    @classmethod
    def _lasts(cls, value: float) -> float:
        if 0 < value < _SHORTEST_IDLE:
            raise ValueError(
                f"{value:g} is too short: the operator must see that a load has succeeded; write 10 or more"
            )
        return value

    @model_validator(mode="after")
    def _can_become_ready(self) -> "Settings":
        if self.ready_when == "loaded" and self.idle_unload:
            raise ValueError(
                "SAM3_READY_WHEN=loaded contradicts SAM3_IDLE_UNLOAD: without the model the server is not ready, "
                "gets no request, and never loads it again"
            )
        if self.ready_when == "loaded" and not self.preload:
            raise ValueError(
                "SAM3_READY_WHEN=loaded needs SAM3_PRELOAD=true: a server that is not ready gets no request, "
                "and without a request it never loads the model"
            )
        return self


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias) if alias else f"SAM3_{field.upper()}"


def explain(error: ValidationError) -> list[str]:
    """Return a sentence for each invalid setting."""
    return [_sentence(str(each["loc"][0]) if each["loc"] else "", each["type"], each["msg"]) for each in error.errors()]


def _sentence(location: str, kind: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    field = next((name for name in Settings.model_fields if location in (name, variable(name))), None)
    if field is None:
        return message
    if kind == "missing":
        return f"{variable(field)} is not set: {Settings.model_fields[field].description}"
    return f"{variable(field)}: {message}"


def describe() -> str:
    """Return every variable with its default and meaning, for --help."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"default {_shown(field.default)}"
        rows.append(f"  {variable(name)}\n      {field.description} ({default})")
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default is None or default == ():
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)
