"""Profiles: how an engine is unloaded and loaded, and which of its requests need the GPU. From a YAML file."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_OWN = resources.files("relay_adapter") / "profiles"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_PATH = r"^/[^\s#]*$"


class ProfileError(Exception):
    """A profile cannot be used. The message says what to change."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Call(_Strict):
    """A request to the engine. `{model}` in path and body stands for the setting MODEL."""

    method: Method = "POST"
    path: Annotated[str, Field(pattern=_PATH, max_length=1000)]
    body: Any = None
    headers: dict[str, str] = Field(default_factory=dict)
    accept: tuple[int, ...] = (200,)
    """Statuses of success."""


class Check(_Strict):
    """A question to the engine: whether a value in its JSON answer is the expected one."""

    call: Call
    field: str = ""
    """Keys and indices from the top, separated by dots; empty for the whole answer."""
    equals: Any = None
    """The value that means yes."""
    empty: bool | None = None
    """Yes if the value is an empty list (true), or one that is not (false)."""
    contains: dict[str, Any] | None = None
    """Yes if a list has an object with these fields."""

    @model_validator(mode="after")
    def _one(self) -> "Check":
        if sum(("equals" in self.model_fields_set, self.empty is not None, self.contains is not None)) != 1:
            raise ValueError("write one of equals, empty and contains")
        return self


class Process(_Strict):
    """An engine that the adapter runs itself, and ends to unload it."""

    command: tuple[str, ...] = ()
    """Program and arguments; empty: those of the adapter's command line."""


class Profile(_Strict):
    """How an engine is worked."""

    ready: Call
    """Answered once the engine takes requests."""
    process: Process | None = None
    """Set for an engine that the adapter runs; it then has no calls to unload it."""
    abort: tuple[Call, ...] = ()
    """Before an unload, to end what the engine still computes."""
    unload: tuple[Call, ...] = ()
    load: tuple[Call, ...] = ()
    probe: Call | None = None
    """A small request, after which a load counts as done."""
    loaded: Check | None = None
    """Whether the model is on the GPU; without it, the calls are believed."""
    loads_at_start: bool = False
    """An engine without such a question may have its model before the adapter has asked it to load."""
    unloaded: Check | None = None
    """Whether it is gone from the GPU."""
    passive: tuple[str, ...] = ()
    """Requests that need no GPU, as `METHOD /path`; `*` stands for any text. They pass at any time."""
    closed: tuple[str, ...] = ()
    """Requests that would load or unload the model behind the adapter's back: they are refused."""
    hint: str = ""
    """What to check where a call fails."""

    @model_validator(mode="after")
    def _can_unload(self) -> "Profile":
        if (self.process is None) == (not self.unload):
            raise ValueError("write either `process`, or the calls of `unload`")
        return self


def names() -> list[str]:
    """Return the names of the profiles that come with the adapter."""
    return sorted(each.name.removesuffix(".yaml") for each in _OWN.iterdir() if each.name.endswith(".yaml"))


def read_profile(name: str, model: str) -> Profile:
    """Read a profile by its name, or from a file; `model` replaces `{model}`. Raises ProfileError."""
    text = _text(name)
    if "{model}" in text and not model:
        raise ProfileError(f"profile {name} needs the name of a model: set RELAY_ADAPTER_MODEL")
    try:
        return Profile.model_validate(_filled(yaml.safe_load(text), model))
    except yaml.YAMLError as error:
        raise ProfileError(f"profile {name} is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(f"profile {name}: {where}: {first['msg'].removeprefix('Value error, ')}") from error


def _text(name: str) -> str:
    if name in names():
        return (_OWN / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        known = ", ".join(names())
        raise ProfileError(f"profile {name} is neither one of {known} nor a file that can be read: {error}") from error


def _filled(value: Any, model: str) -> Any:
    """Return a value with `{model}` replaced in every text of it."""
    if isinstance(value, str):
        return value.replace("{model}", model)
    if isinstance(value, list):
        return [_filled(each, model) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, model) for key, each in value.items()}
    return value
