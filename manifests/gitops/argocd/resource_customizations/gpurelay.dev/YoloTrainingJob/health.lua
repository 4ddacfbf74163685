-- Health of a YoloTrainingJob in Argo CD: the same as kstatus, and Suspended for suspended jobs.
local health = { status = "Progressing", message = "waits for the operator" }

if obj.metadata.deletionTimestamp ~= nil then
  health.message = "is being deleted"
  return health
end
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local verdicts = {
  { type = "Stalled", status = "Degraded" },
  { type = "Suspended", status = "Suspended" },
  { type = "Complete", status = "Healthy" },
  { type = "Reconciling", status = "Progressing" },
}
for _, verdict in ipairs(verdicts) do
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == verdict.type and condition.status == "True" then
      health.status = verdict.status
      health.message = condition.message
      return health
    end
  end
end
return health
