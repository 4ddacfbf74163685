"""What would change a job's situation, by the reason that the operator gives for it.

`{job}`, `{namespace}` and `{pod}` stand for the job's. Where the operator's own message already says what to change,
the table has no more than where to look.
"""

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.job import Job

_DESCRIBE = "`kubectl -n {namespace} describe pod {pod}` has the details."
_AGAIN = "Fix that, delete this job, and create it again: its spec cannot be changed, and retries do not help."
_WAIT = "You need to do nothing: the operator continues by itself."

ADVICE: dict[Reason, tuple[str, ...]] = {
    Reason.WAITING_FOR_KUEUE: (
        "Kueue admits the job when quota of its LocalQueue is released, or increased.",
        "Without the label kueue.x-k8s.io/queue-name the job would not ask Kueue at all.",
    ),
    Reason.KUEUE_MISSING: (
        "Install Kueue (with manifests/components/kueue for the operator), or remove the label "
        "kueue.x-k8s.io/queue-name from the job.",
    ),
    Reason.ADMITTED: (_WAIT,),
    Reason.WAITING_TO_PREPARE: (
        "It is prepared when one of the jobs that are being prepared now is ready.",
        "The operator's GPU_RELAY_PREPARATIONS sets how many of a namespace are prepared at a time.",
    ),
    Reason.VOLUME_CLAIM_MISSING: (
        "`kubectl -n {namespace} get pvc` shows those that exist.",
        "The job continues within a minute after the PVC has been created.",
    ),
    Reason.PREPARING: (_WAIT, "`kubectl relay -n {namespace} logs {job}` shows what it fetches and checks."),
    Reason.PREPARATION_FAILED: ("It is retried after a pause; you may have to fix what the message names.",),
    Reason.PREPARATION_TIMED_OUT: (_DESCRIBE, "The operator's GPU_RELAY_PREPARATION_TIMEOUT sets the limit."),
    Reason.PREPARATION_SKIPPED: (_WAIT,),
    Reason.WAITING_FOR_REVIEW: (
        "Correct the labels where the message says, then run `kubectl relay -n {namespace} approve {job}`.",
        "A job that Git manages needs the commit of dataset.label.approved: true instead.",
    ),
    Reason.PREPARED: (_WAIT,),
    Reason.WAITING_IN_QUEUE: (
        "It moves up when a job before it ends, is suspended or is deleted.",
        "A higher spec.priority (as far as its namespace may go) takes it further to the front; it may be changed now.",
        "A job that runs stops for it only where that job is preemptible and of lower priority.",
        "Another GPU with a resident, which lends it to namespace {namespace}, would serve the queue faster.",
    ),
    Reason.RESIDENT_SERVING: (
        "The turn begins when the resident has served for its minServe, or has had no request for its idleAfter.",
        "The annotations gpurelay.dev/max-outage and gpurelay.dev/min-serve on the resident's pod set both clocks.",
    ),
    Reason.OUTSIDE_TRAINING_WINDOW: (
        "It begins by itself in the next training window.",
        "The annotation gpurelay.dev/training-windows on the resident's pod sets the windows.",
        "spec.gpu.startWhen: ResidentIdle waits for an idle resident instead; it takes a new job.",
    ),
    Reason.RESIDENT_BUSY: (
        "It begins as soon as the resident has had no request for spec.gpu.idleFor.",
        "spec.gpu.startWhen: Immediately would not wait for that; it takes a new job.",
    ),
    Reason.WAITING_FOR_BACKOFF: ("The next attempt begins by itself after the pause.",),
    Reason.NO_GPU_FITS: (
        "It will wait indefinitely; other jobs are scheduled ahead of it.",
        "Ask for less in spec.gpu.memory, or for other labels, in a new job; or add such a GPU.",
        "If a resident does not lend its GPU to namespace {namespace}: its pod's annotation "
        "gpurelay.dev/allowed-namespaces lists the namespaces that may borrow it.",
    ),
    Reason.NODE_UNAVAILABLE: (
        "The message names what keeps pods away from the node. The operator checks again by itself.",
        "`kubectl describe node` shows the node's taints, and which pods have its GPU shares.",
    ),
    Reason.MULTIPLE_RESIDENTS: ("Scale the resident to one pod for each GPU.",),
    Reason.UNLOADING_RESIDENT: ("The resident finishes or drops what it is doing; that takes seconds.",),
    Reason.RESIDENT_UNLOADED: (_WAIT,),
    Reason.RESIDENT_UNREACHABLE: (
        "The resident's pod must answer again: see its logs and events, or delete it; its Deployment makes a new one.",
    ),
    Reason.RESIDENT_REFUSED: ("See the resident's logs; its pod may be deleted, and another one takes its place.",),
    Reason.RESIDENT_MISSING: ("A resident pod on that node must come back; see the resident's Deployment.",),
    Reason.RESIDENT_RESTARTED: (_WAIT,),
    Reason.WAITING_FOR_MEMORY: (
        "Another process holds memory on that GPU: `nvidia-smi` on the node shows which.",
        "The resident stays loaded meanwhile. The operator measures again by itself.",
    ),
    Reason.GPU_STILL_IN_USE: ("That pod must end first; it is being stopped.",),
    Reason.MEMORY_PROVEN: (_WAIT,),
    Reason.MEMORY_EXCEEDED: ("Raise the annotation gpurelay.dev/gpu-memory of the pod template.",),
    Reason.POD_CREATED: (_WAIT,),
    Reason.POD_NOT_STARTED: ("Pods take a while to start.", _DESCRIBE),
    Reason.UNSCHEDULABLE: (_DESCRIBE, "spec.podTemplate may be changed now; it holds for the next attempt."),
    Reason.IMAGE_PULL_FAILED: (_DESCRIBE, "spec.podTemplate may be changed now; it holds for the next attempt."),
    Reason.CONTAINER_NOT_CREATED: (_DESCRIBE, "spec.podTemplate may be changed now; it holds for the next attempt."),
    Reason.VOLUME_NOT_MOUNTED: (
        _DESCRIBE,
        "Correct the PVC that the message names; the operator retries.",
    ),
    Reason.INIT_CONTAINER_FAILED: (
        _DESCRIBE,
        "Ask the cluster's administrator: that container is not part of the job.",
    ),
    Reason.POD_REFUSED: (
        "A quota or an admission policy refuses the pod: change it, or spec.podTemplate.",
        "The resident stays loaded meanwhile. The operator asks the API server again by itself.",
    ),
    Reason.POD_NAME_TAKEN: ("Delete that pod, or give the job another name. The job starts when the name is free.",),
    Reason.TRAINING_RUNNING: ("`kubectl relay -n {namespace} watch {job}` follows it.",),
    Reason.YIELDING_TO_RESIDENT: ("It resumes from its checkpoint when the resident has served for a while.",),
    Reason.SUSPENDED: ("`kubectl relay -n {namespace} resume {job}` resumes it from its checkpoint.",),
    Reason.RESUMED: (_WAIT,),
    Reason.PREEMPTED: (
        "It resumes from its checkpoint when the job of higher priority has had its turn.",
        "spec.preemptible: false would keep it from being stopped; it may be changed now.",
    ),
    Reason.QUOTA_WITHDRAWN: ("It resumes from its checkpoint when Kueue admits it again.",),
    Reason.DEADLINE_EXCEEDED: (
        "A new job with a larger spec.activeDeadlineSeconds has more time; it begins from the start.",
    ),
    Reason.STOPPING: ("It writes its checkpoint and ends.",),
    Reason.POD_STUCK: (
        "See the pod and its node. Where the machine is down: "
        "`kubectl taint node <node> node.kubernetes.io/out-of-service=down:NoExecute`.",
    ),
    Reason.NODE_LOST: (
        "It continues by itself when its node is back. Where the machine is down: "
        "`kubectl taint node <node> node.kubernetes.io/out-of-service=down:NoExecute`.",
    ),
    Reason.BACKOFF_LIMIT_EXCEEDED: ("See what ended the attempts below; then create a new job.",),
    Reason.INVALID_SPEC: (_AGAIN,),
    Reason.DATASET_INVALID: (_AGAIN,),
    Reason.CONFIG_INVALID: (_AGAIN,),
    Reason.OUT_OF_MEMORY: ("It is retried with half the batch size; a new job may ask for more spec.gpu.memory.",),
    Reason.GPU_MEMORY_UNAVAILABLE: ("It is retried, and this does not count as a failed attempt.",),
    Reason.WRONG_GPU: ("It is retried, and this does not count as a failed attempt.",),
    Reason.OOM_KILLED: ("Raise spec.podTemplate.resources.limits.memory; it may be changed now.",),
    Reason.EVICTED: ("Set spec.podTemplate.resources.requests to what the training uses; it may be changed now.",),
    Reason.UNREADABLE: ("Correct the field that the message names, or install CRD and operator of one version.",),
    Reason.POD_LOST: ("It resumes from its checkpoint. To stop a job, suspend or delete it, not its pod.",),
    Reason.NODE_REFUSED_POD: ("It is retried, and this does not count as a failed attempt.",),
    Reason.DISRUPTED: ("It resumes from its checkpoint.",),
    Reason.INTERRUPTED: ("It resumes from its checkpoint.",),
    Reason.ERROR: ("The message is the trainer's; `kubectl relay -n {namespace} logs {job}` has more.",),
    Reason.COMPLETED: (),
}


def advice(job: Job, reason: str) -> list[str]:
    """Return what would change the situation of a job that is in it for this reason; nothing for unknown ones."""
    pod = job.status.pod or (job.status.preparation.pod if job.status.preparation else f"{job.key.name}-1")
    if reason in {Reason.PREPARING, Reason.PREPARATION_FAILED} and job.status.preparation:
        pod = job.status.preparation.pod
    sentences = ADVICE.get(Reason(reason), ()) if reason in set(Reason) else ()
    return [each.format(job=job.key.name, namespace=job.key.namespace, pod=pod) for each in sentences]
