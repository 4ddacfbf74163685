"""The settings of every resident, all from the environment; a server adds its own, and a prefix for the names."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from residency.policy import Policy

_SHORTEST_IDLE = 10.0
AnySettings = TypeVar("AnySettings", bound="ResidentSettings")


class ResidentSettings(BaseSettings):
    """Settings of a resident. A subclass sets `env_prefix`, with which the variables begin."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", populate_by_name=True)

    gpu_memory_mib: int = Field(
        14000,
        ge=0,
        description="GPU memory in MiB that a load must find free and the model may then take; 0 computes on the CPU",
    )
    preload: bool = Field(
        False,
        description="load at start, and again after the model's process died, without a request; as with any load, "
        "only while the memory is free and the GPU is not lent out",
    )
    ready_when: Literal["serving", "loaded"] = Field(
        "serving",
        description="what decides /ready. serving: the server answers, with 503 while the GPU is lent out; loaded: the "
        "model is on the device (needs {prefix}PRELOAD=true)",
    )
    idle_unload: float = Field(
        0.0,
        ge=0,
        le=7 * 24 * 3600,
        description="seconds without a request after which the model is unloaded, 10 at least; the next request loads "
        "it, as memory allows; 0: never",
    )
    held_wait: float = Field(10.0, gt=0, le=300, description="seconds that {prefix}WHILE_HELD=wait waits at most")
    hold_file: Path | None = Field(
        None, description="file in which a hold is kept, so that a server restarted during a turn knows of it"
    )
    control_token_file: Path | None = Field(None, description="control calls need the token in this file")
    control_service_accounts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="control calls need a Kubernetes token of one of these, as namespace:name, separated by commas"
    )
    control_audience: str = Field("gpu-relay", min_length=1, description="audience such a token must be made for")
    control: Literal["token", "open"] = Field("token", description="open: every client may unload and load")
    max_in_flight: int = Field(16, ge=1, description="inference requests in flight at a time; more are answered 503")
    max_per_client: int | None = Field(
        None,
        ge=1,
        description="of those, from one address (IPv6: one /64 network); more are answered 429; "
        "by default three quarters of {prefix}MAX_IN_FLIGHT",
    )
    max_connections: int = Field(256, ge=4, description="open connections; a quarter of them may come from one address")
    load_timeout: float = Field(180.0, gt=0, description="seconds to prepare a load, and as many to complete it")
    transfer_timeout: float = Field(
        60.0, gt=0, description="seconds for a request's body to arrive, and for its answer to be received"
    )
    kill_grace: float = Field(3.0, ge=0, description="seconds between SIGTERM and SIGKILL for the model's process")
    shutdown_timeout: int = Field(20, ge=0, description="seconds to finish requests after SIGTERM")
    bind_address: str = Field("0.0.0.0", validation_alias="BIND_ADDRESS", description="address to listen on")
    http_port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level of the JSON log")

    @property
    def places_per_client(self) -> int:
        """Requests that one client may have in flight."""
        return self.max_per_client or max(1, self.max_in_flight * 3 // 4)

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable of a setting."""
        alias = cls.model_fields[field].validation_alias
        return str(alias) if alias else f"{cls.model_config['env_prefix']}{field.upper()}"

    @field_validator("control_service_accounts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split(value)

    @field_validator("control_service_accounts")
    @classmethod
    def _namespaced(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for account in value:
            if account.count(":") != 1 or account.startswith(":") or account.endswith(":"):
                raise ValueError(f"{account!r} must be written namespace:name")
        return value

    @field_validator("idle_unload")
    @classmethod
    def _lasts(cls, value: float) -> float:
        if 0 < value < _SHORTEST_IDLE:
            raise ValueError(
                f"{value:g} is too short: the operator must see that a load has succeeded; write 10 or more"
            )
        return value

    @model_validator(mode="after")
    def _one_control(self: AnySettings) -> AnySettings:
        ways = [bool(self.control_token_file), bool(self.control_service_accounts), self.control == "open"]
        if sum(ways) != 1:
            names = [self.variable(name) for name in ("control_token_file", "control_service_accounts", "control")]
            raise ValueError(
                f"choose who may unload and load with exactly one of {names[0]}, {names[1]} (namespace:name) and "
                f"{names[2]}=open"
            )
        return self

    @model_validator(mode="after")
    def _can_become_ready(self: AnySettings) -> AnySettings:
        ready, idle, preload = (self.variable(name) for name in ("ready_when", "idle_unload", "preload"))
        if self.ready_when == "loaded" and self.idle_unload:
            raise ValueError(
                f"{ready}=loaded contradicts {idle}: without the model the server is not ready, gets no request, and "
                "never loads it again"
            )
        if self.ready_when == "loaded" and not self.preload:
            raise ValueError(
                f"{ready}=loaded needs {preload}=true: a server that is not ready gets no request, and without a "
                "request it never loads the model"
            )
        return self


def split(value: object) -> object:
    """Return the parts of a setting that commas separate; anything but text as it is."""
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


def policy_of(settings: ResidentSettings, *, waits: bool) -> Policy:
    """Return what the settings decide; `waits` is whether a request may wait for the end of a turn."""
    return Policy(
        need_mib=settings.gpu_memory_mib,
        max_in_flight=settings.max_in_flight,
        max_per_client=settings.places_per_client,
        held_wait=settings.held_wait if waits else 0.0,
        hold_file=settings.hold_file,
        preload=settings.preload,
        ready_when_loaded=settings.ready_when == "loaded",
        idle_unload=settings.idle_unload,
    )


def explain(kind: type[ResidentSettings], error: ValidationError) -> list[str]:
    """Return a sentence for each invalid setting."""
    errors = error.errors()
    return [_sentence(kind, str(each["loc"][0]) if each["loc"] else "", each["type"], each["msg"]) for each in errors]


def _sentence(kind: type[ResidentSettings], location: str, error: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    field = next((name for name in kind.model_fields if location in (name, kind.variable(name))), None)
    if field is None:
        return message
    if error == "missing":
        return f"{kind.variable(field)} is not set: {_described(kind, field)}"
    return f"{kind.variable(field)}: {message}"


def describe(kind: type[ResidentSettings]) -> str:
    """Return every variable with its default and meaning, for --help."""
    rows = []
    for name, field in kind.model_fields.items():
        default = "required" if field.is_required() else f"default {_shown(field.default)}"
        rows.append(f"  {kind.variable(name)}\n      {_described(kind, name)} ({default})")
    return "\n".join(rows)


def _described(kind: type[ResidentSettings], field: str) -> str:
    """Return what a setting means, with the names of others as this server has them."""
    return str(kind.model_fields[field].description).replace("{prefix}", str(kind.model_config["env_prefix"]))


def _shown(default: object) -> str:
    if default is None or default == ():
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)
