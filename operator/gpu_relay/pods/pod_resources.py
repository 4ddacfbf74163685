"""What a pod asks for: the site's resources, and the job's in place of them."""

import copy

from gpu_relay.clients.kube import Object


def merged(site: Object, asked: Object) -> Object:
    """Return the `resources` of the site's template with those that a job asks for in place of them, one by one.

    A resource that the job names in requests or limits is the job's alone, because a request of the site may be above
    a limit of the job.
    """
    named = {name for amounts in asked.values() for name in amounts}
    result: Object = copy.deepcopy(site)
    for kind in ("requests", "limits"):
        if kind in site or kind in asked:
            others = {name: amount for name, amount in site.get(kind, {}).items() if name not in named}
            result[kind] = others | asked.get(kind, {})
    return result
