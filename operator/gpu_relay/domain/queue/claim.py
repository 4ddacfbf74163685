"""What waits for a GPU: a YoloTrainingJob, or a Workload of Kueue that has the operator's check."""

from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.job import Job

Claim = Job | CheckedWorkload
