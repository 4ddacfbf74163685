"""The types of `spec.gpu`."""

from typing import Annotated, Literal

from pydantic import Field

from gpu_relay.api import words
from gpu_relay.api.schema import LABEL_NAMES, RULES, ApiType, object_name
from gpu_relay.api.sentences import DURATION, GPU_MEMORY


class LabelSelector(ApiType):
    """Labels that must all match."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={},
        max_length=16,
        json_schema_extra={RULES: [LABEL_NAMES]},
        description="Label names and values; empty matches everything.",
    )


class Gpu(ApiType):
    """What the job needs of a GPU."""

    memory: str = Field(
        pattern=r"^[1-9][0-9]{0,6}(Mi|Gi)$",
        max_length=32,
        json_schema_extra=GPU_MEMORY,
        description="GPU memory that the training needs, for example `10Gi`. "
        "Training starts only when this much, and a margin, is measured free.",
    )
    resident_selector: LabelSelector = Field(
        default=LabelSelector(),
        description="Labels of the resident pods whose GPU this job may take; empty means any resident.",
    )
    resource_claim_name: str | None = object_name(
        "ResourceClaim",
        required=False,
        description="A ResourceClaim (DRA) in the job's namespace for the GPU, which the resident's pod shares; the "
        "training pod joins it and takes no extended resource. Default: the operator's.",
    )
    sharing: Literal["Exclusive", "Coresident"] = Field(
        default="Exclusive",
        description="Exclusive: the resident is unloaded for the training. Coresident: where the training fits beside "
        "the loaded resident (measured free memory, less what the resident may still grow by), it is left loaded; "
        "elsewhere it is unloaded as for Exclusive.",
    )
    start_when: Literal["Immediately", "ResidentIdle"] = Field(
        default="Immediately",
        description="Immediately: as soon as the queue allows. ResidentIdle: only when the resident has had no request "
        "for `idleFor`; jobs behind this one may go first.",
    )
    idle_for: str | None = Field(
        default=None,
        pattern=f"^{words.DURATION}$",
        max_length=32,
        json_schema_extra=DURATION,
        description="With `startWhen: ResidentIdle`: time without a request, such as `10m`; default: the operator's.",
    )
    yield_to_resident: bool = Field(
        default=False,
        description="true bounds the resident's outage inside a long training: when the resident has had to refuse "
        "requests and has been out for the operator's maxOutage, the training stops at a checkpoint, the resident "
        "serves for a while, and the training goes on.",
    )
