"""The SAM3 server's settings, all from the environment. `sam3-server --help` prints them from here."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from residency.settings import ResidentSettings, split

_ORIGIN = re.compile(r"https?://[a-z0-9.\-]+(:[0-9]+)?|https?://\[[0-9a-f:]+\](:[0-9]+)?")


class Settings(ResidentSettings):
    """The server's settings. Names are the environment's, in lower case and without the prefix `SAM3_`."""

    model_config = SettingsConfigDict(env_prefix="SAM3_")

    model: Path = Field(
        description="folder of the model, as save_pretrained writes it (facebook/sam3, or make-tiny-model)"
    )
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        "auto",
        description="precision of the image and text encoders; boxes and scores are always computed in float32. auto: "
        "float16 on a GPU, float32 where its numbers overflow and on the CPU; bfloat16 costs precision",
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
    inference_token_file: Path | None = Field(
        None,
        description="requests for inference need the token in this file, as `Authorization: Bearer <token>`, `Token: "
        "<token>`, or in the query as `api_key`; without it, every client that reaches the server may send them",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins of web pages whose scripts may send requests from a browser, such as "
        "https://label.example.com, separated by commas; * for every origin",
    )
    max_image_mib: int = Field(32, ge=1, description="largest upload, in MiB")
    max_image_pixels: int = Field(50_000_000, ge=1, description="most pixels of an image, width times height")
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

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return split(value)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} must be written as a browser sends it: https://host or https://host:port")
        return value

    @field_validator("model")
    @classmethod
    def _is_model(cls, value: Path) -> Path:
        if not (value / "config.json").is_file():
            raise ValueError(f"{value} has no config.json; point it at a folder that save_pretrained has written")
        return value
