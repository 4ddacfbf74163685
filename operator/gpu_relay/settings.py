"""The operator's settings: one class, read from the environment (`GPU_RELAY_…`)."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gpu_relay import __version__
from gpu_relay.clients.residents import Limits
from gpu_relay.domain.policy import Policy
from gpu_relay.pods.pod_builder import TrainerDefaults
from gpu_relay.pods.site_template import read_template


class ExternalResident(BaseModel):
    """A resident that is not a pod: a process on a node of the cluster, known by its URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=63)
    url: str = Field(pattern=r"^https?://[^/]+$")
    """Base URL of its API, without a path."""
    node: str = Field(min_length=1)
    """Name of the Kubernetes node with its GPU; training pods are pinned to it."""
    labels: dict[str, str] = {}
    """Labels that `gpu.residentSelector` of a job matches."""
    allowed_namespaces: str = "*"
    """Namespaces whose jobs may use its GPU, separated by commas; `*` means all."""


class Settings(BaseSettings):
    """Each field is set by `GPU_RELAY_<FIELD IN CAPITALS>`. Times are seconds, sizes MiB."""

    model_config = SettingsConfigDict(env_prefix="GPU_RELAY_", extra="ignore", use_attribute_docstrings=True)

    namespace: str = "gpu-relay"
    """Namespace of the operator and of its Leases."""
    watch_namespace: str = ""
    """Namespace whose jobs and pods are watched; empty: all namespaces."""
    resident_namespaces: str = ""
    """Namespaces whose pods may be residents, by commas; empty: the operator's own; `*`: all, if you trust all."""
    trainer_image: str = Field(default=f"gpu-relay/yolo:{__version__}", min_length=1)
    """Image of training pods whose job sets none."""
    trainer_pod_template: Path | None = None
    """YAML file with a partial PodTemplateSpec, the base of every training pod: tolerations, runtimeClassName, …"""
    gpu_resource: str = "nvidia.com/gpu"
    """Extended resource of which a training pod requests one (a share, with time-slicing); empty: none."""
    gpu_resource_claim: str = ""
    """Name of a ResourceClaim (DRA) in the job's namespace that training pods use instead; empty: none."""
    preparations: int = Field(default=2, ge=0, le=1000)
    """Jobs of one namespace that are prepared at the same time, without a GPU; 0: only those with images to label."""
    preparation_timeout: int = Field(default=21600, ge=1)
    """Time limit of a preparing pod; then the kubelet stops it, and the preparation has failed."""
    trainer_grace_period: int = Field(default=60, ge=1)
    """Grace period of a training pod: the seconds in which it writes its checkpoint when it is stopped."""
    resident_port: int = Field(default=8000, ge=1, le=65535)
    """Port of the residents' API, if a pod has neither the annotation gpurelay.dev/port nor a port named http."""
    resident_token_file: Path | None = None
    """File with the bearer token for residents, for example a projected service account token of audience gpu-relay."""
    margin: int = Field(default=256, ge=0)
    """Memory that must be free in addition to what a job requests."""
    samples: int = Field(default=3, ge=1, le=100)
    """Measurements in a row that must show enough free memory."""
    sample_interval: float = Field(default=0.1, ge=0.05, le=60)
    """Time between these measurements; longer where other processes use GPU memory in bursts."""
    hold_ttl: float = Field(default=60, ge=5, le=3600)
    """Time after which a resident may load by itself if neither the operator nor the trainer renews its hold."""
    drain_timeout: float = Field(default=20, ge=0, le=25)
    """Time that requests in flight have to finish before an unload aborts them."""
    request_timeout: float = Field(default=30, ge=1)
    """Time limit of a call to the Kubernetes API or to a resident's unload."""
    load_timeout: float = Field(default=300, ge=1)
    """Time limit of a resident's load with its probe inference."""
    pod_start_timeout: float = Field(default=600, ge=1)
    """Time limit for the start of a training pod; then the resident gets its GPU back, and the attempt has failed."""
    start_failure_timeout: float = Field(default=60, ge=0)
    """The same, from the first failure, for a pod that is unschedulable, or whose image, volume or container fails."""
    pod_stuck_after: float = Field(default=60, ge=0)
    """Time after its grace period at which a pod that does not end is reported as PodStuck."""
    memory_return_timeout: float = Field(default=30, ge=0)
    """Time to wait until a training's memory is measured free; then the resident's check before its load decides."""
    progress_interval: float = Field(default=2, ge=0.2)
    """Time between two reads of a training's progress."""
    backoff_base: float = Field(default=10, ge=0)
    """Pause after the first failed attempt; it doubles with each further failure."""
    backoff_cap: float = Field(default=360, ge=0)
    """Longest pause between attempts."""
    max_outage: float = Field(default=1800, ge=0)
    """Time that turns in a row may keep a resident unloaded; its annotation gpurelay.dev/max-outage overrides it."""
    min_serve: float = Field(default=60, ge=0)
    """Time that the resident then serves before the next turn; its annotation gpurelay.dev/min-serve overrides it."""
    max_idle_outage: float = Field(default=120, ge=5)
    """Time that a resident may stay unloaded while no training pod is live; then it is loaded, whatever the cause."""
    resident_grace: float = Field(default=60, ge=0)
    """Time to wait for a missing or silent resident; then turns end, and jobs start without it or preempt others."""
    usage_days: int = Field(default=90, ge=1)
    """Days for which the usage of each GPU is kept in its ConfigMap."""
    external_residents: list[ExternalResident] = []
    """Residents that are not pods: a JSON list of {"name", "url", "node", "labels"}."""
    restart_resident_after: float = Field(default=0, ge=0)
    """Time after which the pod of a resident that does not unload is deleted; 0: never."""
    idle_after: float = Field(default=30, ge=0)
    """Time without a request after which a resident is idle; its annotation gpurelay.dev/idle-after overrides it."""
    lease_duration: int = Field(default=12, ge=2, le=60)
    """Duration of the leader's Lease: after two thirds without renewal the leader exits; after all, another leads."""
    resync_interval: float = Field(default=300, ge=5)
    """Time between full LISTs, which find what a watch has missed."""
    http_port: int = Field(default=8081, ge=0, le=65535)
    """Port of /healthz, /readyz and /metrics; 0: any free port."""
    log_format: str = Field(default="text", pattern="^(text|json)$")
    """`text` for people, `json` for log collectors."""

    @field_validator("resident_token_file", "trainer_pod_template", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None

    def trusts_residents_of(self, namespace: str) -> bool:
        """Return whether pods of a namespace may be residents: they get the operator's token for residents."""
        trusted = {name.strip() for name in (self.resident_namespaces or self.namespace).split(",")}
        return bool(trusted & {namespace, "*"})

    def policy(self) -> Policy:
        """Return the settings on which decisions depend."""
        return Policy(
            samples=self.samples,
            sample_interval=self.sample_interval,
            margin_mib=self.margin,
            hold_ttl=self.hold_ttl,
            progress_interval=self.progress_interval,
            pod_start_timeout=self.pod_start_timeout,
            start_failure_timeout=self.start_failure_timeout,
            resident_grace=self.resident_grace,
            stuck_after=self.pod_stuck_after,
            memory_return_timeout=self.memory_return_timeout,
            backoff_base=self.backoff_base,
            backoff_cap=self.backoff_cap,
            max_outage=self.max_outage,
            min_serve=self.min_serve,
            idle_after=self.idle_after,
            restart_resident_after=self.restart_resident_after,
            preparations=self.preparations,
            grace_period=self.trainer_grace_period,
            max_idle_outage=self.max_idle_outage,
            request_timeout=self.request_timeout,
            tolerations=tuple(read_template(self.trainer_pod_template).get("spec", {}).get("tolerations", [])),
        )

    def limits(self) -> Limits:
        """Return the time limits of calls to residents."""
        return Limits(
            request=self.request_timeout, drain=self.drain_timeout, hold_ttl=self.hold_ttl, load=self.load_timeout
        )

    def trainer_defaults(self) -> TrainerDefaults:
        """Return the defaults of training pods. Raises ValueError, which names what is wrong with the pod template."""
        return TrainerDefaults(
            image=self.trainer_image,
            gpu_resource=self.gpu_resource,
            resource_claim=self.gpu_resource_claim,
            hold_ttl=self.hold_ttl,
            grace_period=self.trainer_grace_period,
            preparation_timeout=self.preparation_timeout,
            template=read_template(self.trainer_pod_template),
        )
