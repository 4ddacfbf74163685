"""The JSON bodies of the API. Sizes are MiB (the `_mb` names too) and times seconds."""

from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, Field

from residency.hold import Claim, Hold, Terms
from residency.state import State

Holder = Annotated[str, Field(min_length=1, max_length=512, description="who holds the GPU for its turn")]
Fence = Annotated[int, Field(strict=True, ge=0, lt=2**63, description="number of the turn on this GPU; it only grows")]
RenewKey = Annotated[str, Field(min_length=1, max_length=512, description="secret that permits renewing the hold")]


class UnloadRequest(BaseModel):
    """The terms of a hold."""

    holder: Holder
    fence: Fence
    ttl_seconds: float = Field(60, gt=0, le=3600, description="the hold ends this long after it was last renewed")
    drain_timeout_seconds: float = Field(20, ge=0, le=600, description="requests in flight are aborted after this")
    renew_key: RenewKey
    eta: AwareDatetime | None = Field(None, description="when the holder expects to be done; sent to refused clients")

    def terms(self) -> Terms:
        """Return the requested hold."""
        return Terms(self.holder, self.fence, self.ttl_seconds, self.renew_key, self.eta)


class RenewRequest(BaseModel):
    """The capability to renew a hold."""

    fence: Fence
    renew_key: RenewKey


class LoadRequest(BaseModel):
    """The holder and the fence of the hold to end."""

    holder: Holder
    fence: Fence

    def claim(self) -> Claim:
        """Return the holder and fence of the turn that ends."""
        return Claim(self.holder, self.fence)


class HoldView(BaseModel):
    """A hold, without its renew key."""

    holder: str
    fence: int
    expires_in_seconds: float
    eta: AwareDatetime | None

    @classmethod
    def of(cls, hold: Hold | None, now: float) -> Self | None:
        """Show `hold` as of `now`."""
        if hold is None:
            return None
        terms = hold.terms
        return cls(
            holder=terms.holder, fence=terms.fence, expires_in_seconds=round(hold.expires_in(now), 3), eta=terms.eta
        )


class Readiness(BaseModel):
    """Whether the server answers requests at all, and whether the model is on the device."""

    status: str = "ok"
    serves: bool
    model_loaded: bool


class Health(BaseModel):
    """What the process is doing; answered without asking the engine or the GPU."""

    status: str = "ok"
    model_loaded: bool
    state: State
    hold: HoldView | None
    error: str | None = Field(description="why the last load failed or the worker died; null once loaded again")


class Gpu(BaseModel):
    """The GPU as NVML measures it at this moment, and what this server holds of it."""

    uuid: str
    name: str
    total_mib: int
    used_mib: int
    reserved_mib: int
    free_mib: int
    worker_allocated_mib: int
    worker_cap_mib: int
    need_mib: int = Field(description="what a load must find free")
    residual_mib: int = Field(description="what the engine kept after the last unload; a job cannot have it")
    in_flight: int
    idle_seconds: float
    refused: int = Field(description="requests refused under the present hold, or the last one")
    newest_fence: int = Field(description="the newest fence of which an order was accepted; 0 before the first")
    model_loaded: bool
    state: State
    hold: HoldView | None


class UnloadResponse(BaseModel):
    """What an unload did, measured before and after."""

    success: bool = True
    message: str
    gpu_freed_mb: int
    gpu_free_mb: int
    drained: int
    aborted: int
    hold: HoldView | None


class RenewResponse(BaseModel):
    """The renewed hold."""

    hold: HoldView


class LoadResponse(BaseModel):
    """The model answers again."""

    success: bool = True
    message: str
    seconds: float
    model_loaded: bool = True
    gpu_free_mb: int


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    eta: AwareDatetime | None = Field(None, description="while the GPU is lent out: when the holder expects to be done")
