"""The messages between server and zygote: it gets a `Setup` with a descriptor for each worker to fork."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

MESSAGE_SIZE = 1 << 16  # no message to or from the zygote is longer


class ZygoteReady(BaseModel):
    """The zygote's first message: the seconds that its imports took, and why it must not be forked, if so."""

    seconds: float
    unfit: str | None = None


class Forked(BaseModel):
    """The zygote has forked a worker, which is a child of the server."""

    kind: Literal["forked"] = "forked"
    pid: int


class Refused(BaseModel):
    """The zygote could not fork a worker."""

    kind: Literal["refused"] = "refused"
    message: str


ForkAnswer = Forked | Refused
FORK_ANSWERS: TypeAdapter[ForkAnswer] = TypeAdapter(Annotated[ForkAnswer, Field(discriminator="kind")])
