"""The types of `spec.podTemplate`: typed and bounded, so that the API server refuses mistakes before a turn begins.

They give no more rights than a pod of the namespace has: there are no fields for volumes, privileges and host
namespaces, and the GPU comes from `spec.gpu` only.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from gpu_relay.api.schema import LABEL_NAMES, LIST_TYPE, MAP_KEYS, RULES, ApiType, object_name
from gpu_relay.api.value_rules import IMAGE, QUANTITY, VARIABLE

_RESOURCES = "cpu, memory, ephemeral-storage and hugepages-*"
_COMPUTE: JsonDict = {
    RULES: [
        {
            "rule": "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-'))",
            "message": f"resources are {_RESOURCES}: the GPU comes from spec.gpu",
        },
        {"rule": "self.all(name, size(name) <= 63)", "message": "the name of a resource has at most 63 characters"},
    ]
}
Quantity = Annotated[int | float | str, WithJsonSchema({**QUANTITY})]
"""A quantity of Kubernetes: `2`, `500m`, `8Gi`."""
Divisor = Annotated[
    int | float | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 63,
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$",
        }
    ),
]
"""A quantity with a pattern: a rule for each variable of a long list would exceed the API server's cost limit."""


class SecretName(ApiType):
    """A Secret in the job's namespace."""

    name: str = object_name("Secret")


class KeyRef(ApiType):
    """A key of a Secret or ConfigMap in the job's namespace."""

    name: str = object_name("Secret or ConfigMap")
    key: str = Field(min_length=1, max_length=253, description="The key.")
    optional: bool | None = Field(default=None, description="true: the object or the key may be missing.")


class FieldRef(ApiType):
    """A field of the pod."""

    field_path: str = Field(min_length=1, max_length=512, description="For example `metadata.name`.")


class ResourceFieldRef(ApiType):
    """A resource of the container."""

    resource: str = Field(min_length=1, max_length=253, description="For example `limits.memory`.")
    divisor: Divisor | None = Field(default=None, description="Unit of the value, for example `1Mi`.")


class EnvSource(ApiType):
    """The source of a variable's value: one of these."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef), "
                    "has(self.resourceFieldRef)].filter(given, given).size() == 1",
                    "message": "valueFrom names one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
                }
            ]
        }
    )
    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod.")
    resource_field_ref: ResourceFieldRef | None = Field(default=None, description="A resource of the container.")


class EnvVar(ApiType):
    """An environment variable of the trainer."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "!['GPU_RELAY_', 'NVIDIA_', 'LD_'].exists(prefix, self.name.startsWith(prefix)) "
                    "&& self.name != 'CUDA_VISIBLE_DEVICES'",
                    ("message"): (
                        "GPU_RELAY_*, NVIDIA_*, LD_* and CUDA_VISIBLE_DEVICES are reserved: they decide which GPU the "
                        "training uses and how its memory is measured; remove the variable"
                    ),
                },
                {
                    "rule": "!(has(self.value) && self.value != '' && has(self.valueFrom))",
                    "message": "set value or valueFrom, not both",
                },
            ]
        }
    )
    name: str = Field(
        pattern="^[-._a-zA-Z][-._a-zA-Z0-9]*$",
        max_length=128,
        json_schema_extra=VARIABLE,
        description="Name of the variable.",
    )
    value: str | None = Field(default=None, max_length=4096, description="Value; `$(NAME)` is expanded.")
    value_from: EnvSource | None = Field(default=None, description="Source of the value, instead of `value`.")


class Toleration(ApiType):
    """A taint that the training pod tolerates."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "has(self.key) && self.key != ''",
                    "message": "set key: a job may not tolerate all taints",
                },
                {
                    "rule": "!(has(self.key) && self.key in ['node-role.kubernetes.io/control-plane', "
                    "'node-role.kubernetes.io/master'])",
                    "message": "a job may not tolerate the taint of control-plane nodes; if the GPU is on one, ask the "
                    "administrator to tolerate it in the operator's trainer-pod-template",
                },
            ]
        }
    )
    key: str | None = Field(default=None, max_length=316, description="Key of the taint.")
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Default: Equal.")
    value: str | None = Field(default=None, max_length=63, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; absent means every effect."
    )
    toleration_seconds: int | None = Field(
        default=None,
        json_schema_extra={("format"): ("int64")},
        description="With NoExecute: seconds for which the taint is tolerated.",
    )


class Resources(ApiType):
    """CPU and host memory of the trainer."""

    requests: dict[str, Quantity] | None = Field(
        default=None, max_length=8, json_schema_extra=_COMPUTE, description=f"Requests: {_RESOURCES}."
    )
    limits: dict[str, Quantity] | None = Field(
        default=None, max_length=8, json_schema_extra=_COMPUTE, description=f"Limits: {_RESOURCES}."
    )


_ENV_SIZE: JsonDict = {
    "rule": "self.map(variable, has(variable.value) ? size(variable.value) : 0).sum() <= 16384",
    ("message"): (
        "the values of env may have at most 16,384 characters in total: put longer values into a ConfigMap or Secret"
    ),
}


def _by(key: str) -> dict[str, Any]:
    """Return the schema of a list that is merged by a field of its items: several field managers can own items."""
    return {LIST_TYPE: "map", MAP_KEYS: [key]}


class PodTemplate(ApiType):
    """Settings of the training pod, in addition to the operator's defaults."""

    image: str | None = Field(
        default=None,
        pattern=r"^[a-zA-Z0-9][^\s]*$",
        max_length=512,
        json_schema_extra=IMAGE,
        description="Trainer image. Default: `GPU_RELAY_TRAINER_IMAGE` of the operator.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="As in a container."
    )
    image_pull_secrets: list[SecretName] | None = Field(
        default=None, max_length=8, json_schema_extra=_by("name"), description="As in a pod: `- name: …`."
    )
    resources: Resources | None = Field(
        default=None,
        description="CPU and host memory, as in a container: `requests`, `limits`. Half a CPU is `500m`, not `0.5`.",
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={},
        max_length=16,
        json_schema_extra={RULES: [LABEL_NAMES]},
        description="As in a pod: the job uses only GPUs of nodes with these labels.",
    )
    tolerations: list[Toleration] | None = Field(
        default=None, max_length=16, description="As in a pod; added to those of the operator."
    )
    service_account_name: str | None = object_name(
        "ServiceAccount", required=False, description="Service account of the training pod; its token is not mounted."
    )
    env: list[EnvVar] | None = Field(
        default=None,
        max_length=64,
        json_schema_extra={**_by("name"), RULES: [_ENV_SIZE]},
        description="Further environment variables, as in a container; their values may have at most 16,384 characters "
        "in total.",
    )
