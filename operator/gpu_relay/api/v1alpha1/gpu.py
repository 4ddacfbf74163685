"""The types of `spec.gpu`."""

from typing import Annotated, Literal

from pydantic import Field

from gpu_relay.api import words
from gpu_relay.api.schema import LABEL_NAMES, RULES, ApiType, object_name
from gpu_relay.api.value_rules import DURATION, GPU_MEMORY


class LabelSelector(ApiType):
    """Labels that must all match."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={},
        max_length=16,
        json_schema_extra={RULES: [LABEL_NAMES]},
        description="Label names and values; empty matches everything.",
    )


class Gpu(ApiType):
    """The GPU that the job needs."""

    memory: str = Field(
        pattern=r"^[1-9][0-9]{0,6}(Mi|Gi)$",
        max_length=32,
        json_schema_extra=GPU_MEMORY,
        description="GPU memory that the training needs, for example `10Gi`. "
        "The training starts only when this much, and a margin, is measured free.",
    )
    resident_selector: LabelSelector = Field(
        default=LabelSelector(),
        description="Labels of resident pods: the job may use their GPUs. Empty matches every resident.",
    )
    resource_claim_name: str | None = object_name(
        "ResourceClaim",
        required=False,
        description="A ResourceClaim (DRA) in the job's namespace for the GPU, which the resident's pod uses too. The "
        "training pod then uses no extended resource. Default: `GPU_RELAY_GPU_RESOURCE_CLAIM` of the operator.",
    )
    sharing: Literal["Exclusive", "Coresident"] = Field(
        default="Exclusive",
        description="Exclusive: the resident is unloaded for the training. Coresident: the resident stays loaded "
        "if the training fits beside it (measured free memory, minus the memory that the resident may "
        "still allocate); otherwise it is unloaded, as with Exclusive.",
    )
    start_when: Literal["Immediately", "ResidentIdle"] = Field(
        default="Immediately",
        description="Immediately: as soon as the queue allows. ResidentIdle: only when the resident has had no request "
        "for `idleFor`; jobs behind this one may start before it.",
    )
    idle_for: str | None = Field(
        default=None,
        pattern=f"^{words.DURATION}$",
        max_length=32,
        json_schema_extra=DURATION,
        description="With `startWhen: ResidentIdle`: time without a request, such as `10m`. Default: the annotation "
        "`gpurelay.dev/idle-after` of the resident's pod, otherwise `GPU_RELAY_IDLE_AFTER` of the operator.",
    )
    yield_to_resident: bool = Field(
        default=False,
        description="true bounds the resident's outage during a long training: when the resident was unloaded for "
        "`maxOutage` and had to refuse requests, the training stops at a checkpoint, the resident serves for "
        "`minServe`, and the training resumes. It also stops at the end of a training window of the resident.",
    )
