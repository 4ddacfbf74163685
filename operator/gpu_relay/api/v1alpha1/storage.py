"""The types of `spec.dataset` and `spec.output`."""

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gpu_relay.api.schema import RULES, ApiType, object_name
from gpu_relay.api.v1alpha1.labelling import Labelling
from gpu_relay.api.value_rules import DATA_URI, RESULTS_URI, SHA256


class ClaimSource(ApiType):
    """A PersistentVolumeClaim in the job's namespace."""

    claim_name: str = object_name("PersistentVolumeClaim")


_RELATIVE: JsonDict = {
    "rule": "!self.path.startsWith('/') && !self.path.split('/').exists(p, p == '..')",
    "message": "path is relative to the volume's root: no leading '/' and no '..'",
}


class Dataset(ApiType):
    """Training data in Ultralytics' layout, on a volume or behind a URI."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                _RELATIVE,
                {
                    "rule": "has(self.persistentVolumeClaim) != has(self.uri)",
                    "message": "give dataset.persistentVolumeClaim or dataset.uri, and not both",
                },
                {
                    "rule": "!has(self.sha256) || has(self.uri)",
                    "message": "dataset.sha256 needs dataset.uri: it is the checksum of the archive there",
                },
                {
                    "rule": "!has(self.label) || has(self.persistentVolumeClaim)",
                    "message": "dataset.label needs dataset.persistentVolumeClaim, with the images",
                },
            ]
        }
    )
    persistent_volume_claim: ClaimSource | None = Field(default=None, description="The PVC with the data.")
    uri: str | None = Field(
        default=None,
        pattern=r"^(https?|s3|gs)://[^/?#]+/.+$",
        max_length=2048,
        json_schema_extra=DATA_URI,
        description="`https://`, `s3://` or `gs://`: an archive (zip, tar, tar.gz, tgz, tar.bz2, tar.xz), an `.ndjson` "
        "file or, ending in `/`, a folder. It is fetched once and kept for later attempts; credentials come from "
        "`podTemplate.env`.",
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        max_length=128,
        json_schema_extra=SHA256,
        description="SHA-256 checksum of the archive at `uri`; the job fails if it differs.",
    )
    path: str = Field(
        default="",
        max_length=1024,
        description="A folder with a data set (`data.yaml`, or COCO JSON), or its YAML or `.ndjson` file, inside the "
        "volume or archive. Default: the volume's root, or the folder of the archive that has a data set. With "
        "`label`, a folder with images.",
    )
    label: Labelling | None = Field(
        default=None,
        description="SAM3 labels the images that have no labels while the job is prepared, and the job trains on the "
        "result, which is in the output's folder `labelled`. Default: the data set has labels.",
    )


class Output(ApiType):
    """Where weights, metrics and plots are written. Several jobs may share a volume: each writes its own folder."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                _RELATIVE,
                {
                    "rule": "has(self.persistentVolumeClaim) || has(self.uri)",
                    "message": "give output.persistentVolumeClaim, output.uri, or both",
                },
            ]
        }
    )
    persistent_volume_claim: ClaimSource | None = Field(
        default=None, description="The PVC for results, checkpoints and the fetched data of `dataset.uri`."
    )
    uri: str | None = Field(
        default=None,
        pattern=r"^(s3|gs)://[^/?#]+(/.*)?$",
        max_length=2048,
        json_schema_extra=RESULTS_URI,
        description="`s3://` or `gs://` folder to which results are published and the checkpoint is copied after each "
        "epoch. Without a PVC, everything else is on the node's disk and is deleted with the pod.",
    )
    path: str = Field(default="", max_length=1024, description="Path inside the volume. Default: the job's name.")
    export: list[str] = Field(
        default=[], max_length=8, description="Formats to export the best weights to: `onnx`, `torchscript`, `engine`."
    )
    keep_checkpoint: bool | None = Field(
        default=None,
        description="true keeps the last checkpoint with the results, so that another job can continue the training "
        "with `resumeFrom`. It takes about 40 bytes for each parameter of the model. Default: false.",
    )
