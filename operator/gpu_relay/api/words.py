"""The names of the API: labels, annotations, phases, conditions and reasons, the last three with descriptions."""

from gpu_relay.api.described import Described

GROUP = "gpurelay.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "YoloTrainingJob"
PLURAL = "yolotrainingjobs"

LABEL_RESIDENT = f"{GROUP}/resident"
LABEL_JOB = f"{GROUP}/job"
LABEL_JOB_UID = f"{GROUP}/job-uid"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_GPU = f"{GROUP}/gpu"
LABEL_FENCE = f"{GROUP}/fence"
LABEL_WORKLOAD_UID = f"{GROUP}/workload-uid"
"""On a pod of a Workload that Kueue has admitted after the operator's check: the Workload's UID."""
LABEL_PREPARATION = f"{GROUP}/preparation"
LABEL_SHARING = f"{GROUP}/sharing"
CORESIDENT = "coresident"
TRAINER_CONTAINER = "trainer"
"""Name of the trainer's container; admission webhooks may add others to its pod."""
ANNOTATION_JOB_FILE = f"{GROUP}/job"
ANNOTATION_PROVEN_MIB = f"{GROUP}/proven-free-mib"
"""On a training pod: the free MiB that were measured before it was created (law 1)."""
ANNOTATION_TURNS = f"{GROUP}/turns"
"""On a pod of a Workload that has several GPUs: each with the fence of its turn, as `<gpu>=<fence>,<gpu>=<fence>`."""
ANNOTATION_GPU_MEMORY = f"{GROUP}/gpu-memory"
ANNOTATION_YIELD = f"{GROUP}/yield"
"""On the pod template of a Job in Kueue, beside `max-outage`: the GPU memory that it needs; whether it yields."""
ADMISSION_CONTROLLER = f"{GROUP}/turn"
"""The `controllerName` of the AdmissionChecks of Kueue that this operator decides."""
ANNOTATION_MAX_OUTAGE = f"{GROUP}/max-outage"
ANNOTATION_MIN_SERVE = f"{GROUP}/min-serve"
ANNOTATION_IDLE_AFTER = f"{GROUP}/idle-after"
ANNOTATION_TRAINING_WINDOWS = f"{GROUP}/training-windows"
ANNOTATION_ALLOWED_NAMESPACES = f"{GROUP}/allowed-namespaces"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "gpu-relay"
ANNOTATION_NODE = f"{GROUP}/node"
ANNOTATION_RENEW_KEY = f"{GROUP}/renew-key"
ANNOTATION_RELOAD_OWED = f"{GROUP}/reload-owed"
ANNOTATION_OUT_SINCE = f"{GROUP}/out-since"
ANNOTATION_SERVED_SINCE = f"{GROUP}/served-since"
ANNOTATION_UNUSED_SINCE = f"{GROUP}/unused-since"
ANNOTATION_MISSING_SINCE = f"{GROUP}/missing-since"
ANNOTATION_USAGE = f"{GROUP}/usage"
"""On a GPU's Lease: what it records besides its holder (`lease_of`)."""
ANNOTATION_OUTCOME = f"{GROUP}/outcome"
ANNOTATION_NEXT_JOB = f"{GROUP}/next-job"
ANNOTATION_WORKLOAD = f"{GROUP}/workload"
"""On an Event, beside GPU, node and fence of its turn: how the attempt ended; the next job; the name of a Workload."""
ANNOTATION_PORT = f"{GROUP}/port"
"""On a resident's pod: the port of its API; without it, the container port named `http` (`port_of`)."""
LEADER_LEASE = "gpu-relay-leader"
LABEL_LOCAL_QUEUE = "kueue.x-k8s.io/queue-name"
"""A label of Kueue: the LocalQueue that admits the job."""
LABEL_PREBUILT_WORKLOAD = "kueue.x-k8s.io/prebuilt-workload-name"
"""A label of Kueue: the Workload that exists for the job already. MultiKueue sets it in a worker cluster."""
MULTIKUEUE = "kueue.x-k8s.io/multikueue"
"""The value of `spec.managedBy` for jobs that MultiKueue runs in another cluster."""
LABEL_HOSTNAME = "kubernetes.io/hostname"
"""A label of Kubernetes on each node; it is not always the node's name."""
LABEL_PIN = f"{GROUP}/pin"
"""On the nodes of a Workload's turn, and in the node selector of its pods."""
LABEL_USAGE = f"{GROUP}/usage"
USAGE_PREFIX = "gpu-relay-usage-"
"""Of the ConfigMaps with the usage of each GPU: a label, and how their names begin; the name of the GPU follows."""
LABEL_GPU_COUNT = "nvidia.com/gpu.count"
"""A label of NVIDIA's GPU feature discovery: the physical GPUs of a node."""
UNMANAGED_GPU = "gpu-unmanaged"
DURATION = r"([0-9]{1,5}(h|m|s|ms)){1,4}"
"""A duration as the Gateway API writes it (GEP-2257)."""


class Phase(Described):
    """The state of a job, in one word."""

    PREPARING = "Preparing", "A pod without a GPU fetches and checks the data, before the job joins the queue."
    QUEUED = "Queued", "Waits for its turn on a GPU."
    ACQUIRING = "Acquiring", "Owns the GPU's Lease; the resident is being unloaded and the free memory measured."
    TRAINING = "Training", "The training pod exists."
    RELEASING = "Releasing", "The training pod has ended; the GPU is given back to the resident."
    SUCCEEDED = "Succeeded", "The job has completed; weights and metrics are in the results."
    FAILED = "Failed", "The job is not tried again; the message of the condition Failed has the cause."
    SUSPENDED = "Suspended", "Stopped on request (`spec.suspend`); resumes from its checkpoint."


TERMINAL_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED})


class ConditionType(Described):
    """The conditions of a job. They follow kstatus, which Flux, Argo CD and `kubectl wait` use."""

    RECONCILING = "Reconciling", "True while the job waits, acquires, trains or releases."
    STALLED = "Stalled", "True when the job has failed and cannot continue; create a new job."
    COMPLETE = "Complete", "True when the job has completed."
    FAILED = "Failed", "True when the job has failed and is not tried again."
    SUSPENDED = "Suspended", "True while the job is stopped on request."
    GPU_ACQUIRED = "GPUAcquired", "True while the job owns a GPU on which enough free memory was measured."
    RESIDENT_RELOADED = "ResidentReloaded", "True when the resident is loaded again after the job's turn."
    UNREADABLE = "Unreadable", "True while the operator cannot read a field of the job; the message names it."


class Reason(Described):
    """The reasons of conditions and of Events, in the order in which they can occur in a turn."""

    WAITING_FOR_KUEUE = (
        "WaitingForKueue",
        "Kueue has not admitted the job yet; the message names its LocalQueue and quotes Kueue.",
    )
    KUEUE_MISSING = (
        "KueueMissing",
        "The job's label names a LocalQueue of Kueue, and the operator cannot read Kueue's API.",
    )
    ADMITTED = "Admitted", "Kueue has admitted the job: its quota is reserved."
    WAITING_TO_PREPARE = (
        "WaitingToPrepare",
        "Other jobs of the namespace are being prepared, as many as the operator allows at a time.",
    )
    VOLUME_CLAIM_MISSING = (
        "VolumeClaimMissing",
        "A PersistentVolumeClaim that the spec names does not exist; the message names it. The operator checks again.",
    )
    PREPARING = "Preparing", "A pod without a GPU fetches and checks the data; the resident stays loaded."
    PREPARATION_FAILED = (
        "PreparationFailed",
        "The data could not be fetched or checked; the message has the cause. The operator retries after a pause.",
    )
    PREPARATION_TIMED_OUT = (
        "PreparationTimedOut",
        "The preparing pod ran for longer than the operator allows and was stopped; it counts as a failure.",
    )
    PREPARATION_SKIPPED = (
        "PreparationSkipped",
        "The training pod fetches and checks the data itself: no node with a GPU is known where a PVC could be bound.",
    )
    WAITING_FOR_REVIEW = (
        "WaitingForReview",
        "SAM3 has labelled the images, and a person has to approve the labels; the job holds nothing meanwhile.",
    )
    PREPARED = "Prepared", "The data has been fetched and checked; the message has the number of images."
    WAITING_IN_QUEUE = "WaitingInQueue", "Other jobs are ahead of this one, or no GPU is free."
    RESIDENT_SERVING = (
        "ResidentServing",
        "The resident was unloaded for `maxOutage`; it serves for `minServe` before the next turn.",
    )
    OUTSIDE_TRAINING_WINDOW = (
        "OutsideTrainingWindow",
        "The resident lends its GPU at certain times of the week; the message has the next one.",
    )
    RESIDENT_BUSY = "ResidentBusy", "The job waits until the resident is idle, and the resident gets requests."
    WAITING_FOR_BACKOFF = "WaitingForBackoff", "The last attempt failed; the job is tried again after a pause."
    NO_GPU_FITS = "NoGpuFits", "No GPU that the job may use has enough memory."
    NODE_UNAVAILABLE = (
        "NodeUnavailable",
        "The GPU's node takes no new pods (cordoned, tainted, not ready), or has no free share of the GPU resource.",
    )
    INVALID_SPEC = "InvalidSpec", "The spec cannot be run; the message says what to change."
    RESUMED = "Resumed", "`spec.suspend` is false again; the job resumes from its checkpoint."
    GPU_LEASED = "GPULeased", "The GPU's Lease was taken for this job."
    UNLOADING_RESIDENT = "UnloadingResident", "The resident was asked to unload and has not yet confirmed."
    RESIDENT_UNLOADED = "ResidentUnloaded", "The resident has unloaded its model; the message has the measured memory."
    RESIDENT_UNREACHABLE = (
        "ResidentUnreachable",
        "The resident's pod exists but does not answer; its memory is unknown, so nothing starts.",
    )
    RESIDENT_REFUSED = "ResidentRefused", "The resident refused to unload; the message quotes its answer."
    RESIDENT_MISSING = "ResidentMissing", "There is no resident pod on the GPU's node."
    RESIDENT_RESTARTED = (
        "ResidentRestarted",
        "The resident did not unload for `GPU_RELAY_RESTART_RESIDENT_AFTER`, so the operator deleted its pod.",
    )
    MULTIPLE_RESIDENTS = (
        "MultipleResidents",
        "Several resident pods report the same GPU. All are held; scale the resident to one pod for each GPU.",
    )
    WAITING_FOR_MEMORY = "WaitingForMemory", "The measured free memory is not enough yet."
    GPU_STILL_IN_USE = "GPUStillInUse", "Another training pod still uses the GPU."
    MEMORY_PROVEN = "MemoryProven", "The measured free memory was enough in several samples in a row."
    POD_CREATED = "PodCreated", "The training pod was created."
    POD_NOT_STARTED = (
        "PodNotStarted",
        "The training pod exists but does not start; the message quotes the kubelet or the scheduler.",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        "The scheduler cannot place the training pod; the message quotes it and says what to change.",
    )
    IMAGE_PULL_FAILED = "ImagePullFailed", "The trainer's image cannot be pulled; the message says what to change."
    CONTAINER_NOT_CREATED = (
        "ContainerNotCreated",
        "The kubelet cannot create the trainer's container; the message quotes it and says what to change.",
    )
    VOLUME_NOT_MOUNTED = (
        "VolumeNotMounted",
        "A volume of the pod cannot be provisioned, attached or mounted; the message has the cause and what to change.",
    )
    INIT_CONTAINER_FAILED = (
        "InitContainerFailed",
        "An init container or native sidecar of the pod failed before the trainer started; the message names it.",
    )
    POD_REFUSED = "PodRefused", "The API server refuses the pod: a quota, an admission policy, or an invalid template."
    POD_NAME_TAKEN = "PodNameTaken", "A pod of the same name exists and does not belong to this job."
    TRAINING_RUNNING = "TrainingRunning", "The training pod runs."
    MEMORY_EXCEEDED = (
        "MemoryExceeded",
        "More of the GPU's memory is in use than the pods of a Workload requested; the message has the figures.",
    )
    YIELDING_TO_RESIDENT = (
        "YieldingToResident",
        "The resident was unloaded for `maxOutage` and had to refuse requests; the training stops for it.",
    )
    SUSPENDED = "Suspended", "`spec.suspend` is true."
    PREEMPTED = (
        "Preempted",
        "A job of higher priority gets the GPU next; this one stops at a checkpoint, as `spec.preemptible` allows.",
    )
    QUOTA_WITHDRAWN = (
        "QuotaWithdrawn",
        "Kueue has withdrawn the job's quota; the training stops at a checkpoint, and the job waits for admission.",
    )
    DEADLINE_EXCEEDED = "DeadlineExceeded", "The job was active for longer than `spec.activeDeadlineSeconds`."
    STOPPING = "Stopping", "The training pod is stopping, and writes its checkpoint."
    POD_STUCK = (
        "PodStuck",
        "The training pod has not ended long after its grace period; its GPU stays blocked.",
    )
    NODE_LOST = (
        "NodeLost",
        "The training pod's node does not respond. The pod may still run, so its GPU stays blocked.",
    )
    TRAINING_ENDED = "TrainingEnded", "The training pod has ended; the message has the trainer's termination message."
    GPU_RETURNED = "GPUReturned", "The GPU's Lease was given back to the resident."
    GPU_PASSED_ON = "GPUPassedOn", "The next job got the GPU immediately; the resident is loaded after it."
    RESIDENT_LOADED = "ResidentLoaded", "The resident is loaded again and answered a probe inference."
    RESIDENT_LOAD_FAILED = "ResidentLoadFailed", "The resident could not be loaded; the operator continues to retry."
    NO_RESIDENT = "NoResident", "The turn had no resident, so there is nothing to load."
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded", "More attempts failed than `spec.backoffLimit` allows."
    COMPLETED = "Completed", "The job has run to its end."
    INTERRUPTED = "Interrupted", "The training was stopped; it can resume from its checkpoint."
    GPU_MEMORY_UNAVAILABLE = (
        "GpuMemoryUnavailable",
        "The trainer found less free GPU memory than the operator had measured.",
    )
    WRONG_GPU = "WrongGpu", "The trainer ran on another GPU than the one that the operator had acquired."
    OUT_OF_MEMORY = "OutOfMemory", "The training ran out of GPU memory."
    DATASET_INVALID = "DatasetInvalid", "The data set cannot be trained on; the message names the file."
    CONFIG_INVALID = "ConfigInvalid", "The model or a training argument cannot be used; the message names it."
    OOM_KILLED = (
        "OOMKilled",
        "The container used more host memory than its limit: raise spec.podTemplate.resources.limits.memory.",
    )
    EVICTED = (
        "Evicted",
        "The node was short of memory or disk and evicted the pod; the message quotes the kubelet.",
    )
    DISRUPTED = (
        "Disrupted",
        "The cluster evicted the pod, for no reason of the job's: a drain, a taint, a shutdown, a preemption.",
    )
    NODE_REFUSED_POD = (
        "NodeRefusedPod",
        "The node's kubelet refused the pod before any container started; the message quotes the kubelet.",
    )
    ERROR = "Error", "The training ended with an error for which there is no other reason."
    POD_LOST = "PodLost", "The training pod was deleted by another client, or disappeared."
    UNREADABLE = (
        "Unreadable",
        "The operator cannot read a field of the job; the message names it. Its training pod continues, and nothing "
        "else happens to the job until the field can be read.",
    )


NEVER_STARTED_REASONS = frozenset(
    {
        Reason.RESIDENT_MISSING, Reason.RESIDENT_UNREACHABLE, Reason.RESIDENT_REFUSED, Reason.WAITING_FOR_MEMORY,
        Reason.GPU_STILL_IN_USE, Reason.POD_REFUSED, Reason.POD_NAME_TAKEN,
    }
)  # fmt: skip
"""Ends of a turn without a training pod: a pause follows, which grows, and then another GPU if there is one."""

REFUSED_REASONS = frozenset({Reason.GPU_MEMORY_UNAVAILABLE, Reason.WRONG_GPU, Reason.NODE_REFUSED_POD})
"""Ends of an attempt whose pod found another GPU, or less memory, than was measured, or was refused by its node."""

COST_FREE_REASONS = NEVER_STARTED_REASONS | REFUSED_REASONS | {
    Reason.INTERRUPTED, Reason.POD_LOST, Reason.NODE_LOST, Reason.DISRUPTED, Reason.PREEMPTED, Reason.QUOTA_WITHDRAWN,
    Reason.SUSPENDED,
}  # fmt: skip
"""Ends of an attempt that do not count against `spec.backoffLimit`."""

YIELDED_REASONS = frozenset({Reason.SUSPENDED, Reason.PREEMPTED, Reason.QUOTA_WITHDRAWN})
"""Ends of an attempt that others requested: no pause follows, and the deadline counts from the next start."""

FINAL_REASONS = frozenset(
    {Reason.DATASET_INVALID, Reason.CONFIG_INVALID, Reason.INVALID_SPEC, Reason.DEADLINE_EXCEEDED}
)
"""Ends of an attempt that a retry cannot fix: the job fails."""
