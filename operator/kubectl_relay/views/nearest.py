"""The job that the user may have meant, where a name does not exist."""

from collections.abc import Sequence
from difflib import get_close_matches

_MOST = 5


def missing_job(namespace: str, name: str, known: Sequence[tuple[str, str]]) -> str:
    """Return that a job does not exist, and which of the known ones, as (namespace, name), may have been meant."""
    missing = f"there is no job {name} in namespace {namespace}"
    elsewhere = [space for space, each in known if each == name and space != namespace]
    if elsewhere:
        return f"{missing}; there is one in {', '.join(elsewhere[:_MOST])}: use -n {elsewhere[0]}"
    here = sorted(each for space, each in known if space == namespace)
    near = get_close_matches(name, here, n=1, cutoff=0.5)
    if near:
        return f"{missing}; did you mean {near[0]}?"
    if not here:
        return f"{missing}, nor any other"
    more = f" and {len(here) - _MOST} more" if len(here) > _MOST else ""
    return f"{missing}; there are: {', '.join(here[:_MOST])}{more}"
