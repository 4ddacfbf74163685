"""Check the prose for words that the project does not use: `python -m tools.words` prints each with its replacement.

Text that the product prints is not checked here: code blocks, code spans, targets of links and images, and rows of
tables that a test compares with the code.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPLACEMENTS = {
    r"told|tells?|telling": "reported, recorded, shown, published",
    r"(?:go|goes|going|went|gone) on": "continue, resume",
    r"for ever": "indefinitely",
    r"in vain": "without effect",
    r"lest": "so that … not",
    r"whoever": "the user who, the process that",
    r"nobody": "no user, no client, no job",
    r"anew": "again",
    r"of (?:ours|yours)": "our, your",
    r"mend(?:s|ed|ing)?": "fix",
    r"trainings": "training jobs, training runs",
    r"pictures?": "image, images",
    r"(?:is|are|was|were|be|been) over": "has finished",
    r"whose (?:(?:is|are) )?(?:(?:a|the|this|each) )?GPUs?": "which job owns the GPU",
    r"claims?": "PVC, ResourceClaim",
    r"(?:is|are|was|were|be|been) out(?! of\b)": "is unloaded",
}
"""Pattern of a word, in any case and over the end of a line, and what to write instead."""

CLEAN = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/index.md",
    "docs/try-it.md",
    "docs/install.md",
    "docs/first-training.md",
    "docs/why-is-my-job-waiting.md",
    "docs/kubectl-relay.md",
    "docs/fairness.md",
    "docs/kueue.md",
    "docs/gitops.md",
    "docs/page.md",
    "docs/life-of-a-job.md",
    "docs/sam3-server.md",
    "docs/security.md",
    "docs/trainer.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/design-rules.md",
    "docs/changing-it.md",
    "docs/architecture.md",
    "docs/contracts.md",
    "docs/local-cluster.md",
    "manifests/samples/classify.yaml",
    "manifests/samples/complete.yaml",
    "manifests/samples/first-training.yaml",
    "manifests/samples/minimal.yaml",
    "manifests/samples/obb.yaml",
    "manifests/samples/object-storage.yaml",
    "manifests/samples/pose.yaml",
    "manifests/samples/segment.yaml",
    "CHANGELOG.md",
    "manifests/chart/Chart.yaml",
    "manifests/chart/values.yaml",
    "manifests/base/image-fields.yaml",
    "manifests/base/kustomization.yaml",
    "manifests/base/network/operator.yaml",
    "manifests/base/network/sam3.yaml",
    "manifests/base/operator/configmap.yaml",
    "manifests/base/operator/deployment.yaml",
    "manifests/base/operator/pdb.yaml",
    "manifests/base/operator/rbac.yaml",
    "manifests/base/sam3/deployment.yaml",
    "manifests/base/sam3/rbac.yaml",
    "manifests/cluster/classes/priority-classes.yaml",
    "manifests/cluster/kustomization.yaml",
    "manifests/cluster/policies/gpu-access.yaml",
    "manifests/cluster/policies/namespace-limits.yaml",
    "manifests/cluster/policies/operator.yaml",
    "manifests/cluster/policies/priority-class.yaml",
    "manifests/cluster/policies/reserved-labels.yaml",
    "manifests/cluster/user-roles.yaml",
    "manifests/components/kueue/kustomization.yaml",
    "manifests/components/kueue/rbac.yaml",
    "manifests/components/monitoring/kustomization.yaml",
    "manifests/components/monitoring/rules.yaml",
    "manifests/components/namespaced/delete.yaml",
    "manifests/components/namespaced/kustomization.yaml",
    "manifests/components/namespaced/nodes.yaml",
    "manifests/components/namespaced/role.yaml",
    "manifests/components/page/deployment.yaml",
    "manifests/components/page/kustomization.yaml",
    "manifests/components/page/network.yaml",
    "manifests/components/page/service.yaml",
    "manifests/components/page/serviceaccount.yaml",
    "manifests/components/page/viewers.yaml",
    "manifests/gitops/argocd/application.yaml",
    "manifests/gitops/flux/jobs.yaml",
    "manifests/overlays/dra/kustomization.yaml",
    "manifests/overlays/local/kustomization.yaml",
    "manifests/overlays/local/vision.yaml",
    "manifests/overlays/local/volumes.yaml",
    "manifests/overlays/namespaced/kustomization.yaml",
    "manifests/overlays/page/kustomization.yaml",
    "manifests/overlays/time-slicing/device-plugin.yaml",
    "manifests/overlays/time-slicing/kustomization.yaml",
    "manifests/samples/continue.yaml",
    "manifests/samples/tracking.yaml",
    "manifests/samples/validate.yaml",
    "manifests/team/kustomization.yaml",
    "manifests/team/namespace.yaml",
    "manifests/team/network.yaml",
    "manifests/transformers/cluster-scoped/kustomization.yaml",
    "manifests/transformers/cluster-scoped/names.yaml",
    "manifests/transformers/cluster-scoped/without-namespace.yaml",
)
"""Files, by their path in the repository, that are checked."""

_PATTERNS = {
    re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE): instead
    for pattern, instead in REPLACEMENTS.items()
}
_QUOTED = re.compile(
    r"""
    ^[ ]*(?P<fence>`{3,}).*?^[ ]*(?P=fence)$                                     # a code block
    | ^\$[ ].*?$                                                                 # a command in a comment
    | ^\|[ ]`(?:GPU_RELAY_[A-Z_]+|gpu_relay_[a-z_]+)`[ ]\|[^|\n]*\|[^\n]+\|$     # a setting or a metric, with its text
    | (?P<span>`+)[^`]+(?P=span)                                                 # a code span
    | \]\([^)\n]*\)                                                              # the target of a link
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """A word that the prose does not use: where it is, and what to write instead."""

    line: int
    word: str
    instead: str


def find_words(text: str) -> list[Finding]:
    """Return the words of a Markdown text that are to be replaced, in the order of the text."""
    prose = _QUOTED.sub(lambda quoted: re.sub(r"[^\n]", "`", quoted[0]), text)
    found = [
        (match.start(), Finding(prose.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead))
        for pattern, instead in _PATTERNS.items()
        for match in pattern.finditer(prose)
    ]
    return [finding for _, finding in sorted(found, key=lambda each: each[0])]


def read_comments(text: str) -> str:
    """Return the comments of a YAML text, each on its line; the rest of each line is empty."""
    return "\n".join(" ".join(_COMMENT.findall(line)) for line in text.splitlines())


def check(root: Path, paths: Iterable[str] = CLEAN) -> list[str]:
    """Return a sentence for each word to replace in these files below a folder."""
    sentences = []
    for path in paths:
        text = (root / path).read_text(encoding="utf-8")
        findings = find_words(text if path.endswith(".md") else read_comments(text))
        sentences += [f"{path}:{each.line}: {each.word!r}: write {each.instead}" for each in findings]
    return sentences


def main() -> int:
    """Print what is to be replaced in the files of CLEAN; return 1 if there is anything, else 0."""
    sentences = check(Path(__file__).parents[1])
    for sentence in sentences:
        print(sentence)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
