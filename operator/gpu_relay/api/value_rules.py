"""CEL rules that answer a wrong value with the right spelling; a pattern would show a regular expression.

Each replaces a pattern, which the CRD omits: the API server would show both. They need Kubernetes 1.30. The API server
limits the estimated cost of a rule; strings made from numbers, and int-or-string values, would exceed the limit.
"""

from pydantic.config import JsonDict

from gpu_relay.api.schema import RULES

Hint = tuple[str, str]
"""A CEL condition, and the CEL expression of the advice that is given if this condition is the first that is true."""


def _spelling_rule(rule: str, problem: str, *hints: Hint, otherwise: str) -> JsonDict:
    """Return the schema of a string with a rule; other values get `'<value>' <problem>; <what to write>`."""
    advice = f"'{otherwise}'"
    for condition, text in reversed(hints):
        advice = f"{condition} ? {text} : {advice}"
    expression = f'"\'" + self + "\' {problem}; " + ({advice})'
    return {RULES: [{"rule": rule, "message": f"this {problem}; {otherwise}", "messageExpression": expression}]}


def _like(pattern: str) -> str:
    """Return the CEL condition that a value matches, in upper or lower case, with or without spaces around it."""
    return f"self.matches('(?i)^ *{pattern} *$')"


_NUMBER = "self.find('[0-9]+')"
_DAYS = str([f"{24 * days}h" for days in range(1, 15)])
_SCHEME = "self.find('^[a-zA-Z0-9]+').lowerAscii()"
_REST = "self.substring(self.find('^[a-zA-Z0-9]+:?/*').size())"
_DURATION = "([0-9]{1,5}(h|m|s|ms)){1,4}"

GPU_MEMORY = _spelling_rule(
    "self.matches('^[1-9][0-9]{0,6}(Mi|Gi)$')",
    "is not a quantity",
    (f"{_like('[1-9][0-9]{0,2}')} || {_like('[1-9][0-9]{0,6} *gi?b?')}", f"'write ' + {_NUMBER} + 'Gi'"),
    (f"{_like('[1-9][0-9]{3,6}')} || {_like('[1-9][0-9]{0,6} *mi?b?')}", f"'write ' + {_NUMBER} + 'Mi'"),
    (_like("[0-9]*[.][0-9]* *gi?b?"), "'write fractions in Mi, for example 10752Mi for 10.5Gi'"),
    otherwise="write for example 10Gi or 10240Mi",
)
DURATION = _spelling_rule(
    f"self.matches('^{_DURATION}$')",
    "is not a duration",
    (_like("([1-9]|1[0-4]) *d(ays?)?"), f"'write ' + {_DAYS}[int({_NUMBER}) - 1]"),
    (_like("[0-9]{1,5}"), f"'write its unit: ' + {_NUMBER} + 's, ' + {_NUMBER} + 'm or ' + {_NUMBER} + 'h'"),
    (_like("[0-9]{1,5} *h((ou)?rs?)?"), f"'write ' + {_NUMBER} + 'h'"),
    (_like("[0-9]{1,5} *m(in(ute)?s?)?"), f"'write ' + {_NUMBER} + 'm'"),
    (_like("[0-9]{1,5} *s(ec(ond)?s?)?"), f"'write ' + {_NUMBER} + 's'"),
    (_like("[0-9]*[.][0-9]* *[a-z]+"), "'write fractions in the next smaller unit, for example 1h30m for 1.5h'"),
    (f"self.replace(' ', '').matches('^{_DURATION}$')", "'write ' + self.replace(' ', '')"),
    otherwise="write it in h, m, s or ms, for example 90s or 1h30m",
)
CLASS_NAME = _spelling_rule(
    "self.matches('^[^ ](.*[^ ])?$')",
    "is not the name of a class",
    ("self.trim() != ''", "'write ' + self.trim()"),
    otherwise="write one line, without spaces at its ends",
)
DATA_URI = _spelling_rule(
    "self.matches('^(https?|s3|gs)://[^/?#]+/.+$')",
    "cannot be fetched",
    (_like("(https?|s3|gs)://[^/?#]+/?"), "'add the path of an archive, or of a folder that ends in /'"),
    (_like("(https?|s3|gs)(:/*|//)[^:/]+/.+"), f"'write ' + {_SCHEME} + '://' + {_REST}"),
    (
        "self.matches('^(file:/*)?[.]?/')",
        "'for data on a volume, set dataset.persistentVolumeClaim and dataset.path'",
    ),
    otherwise="write for example s3://bucket/digits.zip or https://host/digits.zip",
)
RESULTS_URI = _spelling_rule(
    "self.matches('^(s3|gs)://[^/?#]+(/.*)?$')",
    "is not a folder for results",
    (_like("(s3|gs)(:/*|//)[^:/]+(/.*)?"), f"'write ' + {_SCHEME} + '://' + {_REST}"),
    ("self.matches('^(file:/*)?[.]?/')", "'for a volume, set output.persistentVolumeClaim and output.path'"),
    otherwise="write for example s3://bucket/folder or gs://bucket/folder",
)
TRACKING_URI = _spelling_rule(
    "self.matches('^https?://[^/?#@]+(/[^?#]*)?$')",
    "is not the address of a tracking server",
    (
        "self.matches('^https?://[^/]*@')",
        "'give credentials in the Secret of tracking.secretName instead'",
    ),
    (_like("https?(:/*|//)[^:/?#@]+(:[0-9]+)?(/[^?#]*)?"), f"'write ' + {_SCHEME} + '://' + {_REST}"),
    otherwise="write for example http://mlflow.example:5000",
)
SHA256 = _spelling_rule(
    "self.matches('^[0-9a-f]{64}$')",
    "is not a SHA-256 checksum",
    (_like("(sha256:)?[0-9a-f]{64}"), "'write ' + self.find('[0-9a-fA-F]{64}').lowerAscii()"),
    otherwise="write the 64 hexadecimal digits that `sha256sum` prints for the archive",
)
IMAGE = _spelling_rule(
    "self.matches('^[a-zA-Z0-9][^ \\t\\r\\n]*$') && !self.contains('://')",
    "is not an image reference",
    ("self.matches('^[a-z]+://[^ /]')", "'write ' + self.substring(self.find('^[a-z]+://').size())"),
    otherwise="write for example registry.example/team/yolo:1.2, without spaces",
)
VARIABLE = _spelling_rule(
    "self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$')",
    "is not the name of a variable",
    ("self.replace(' ', '_').matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$')", "'write ' + self.replace(' ', '_')"),
    otherwise="write letters, digits, _, . and -, without a digit first",
)
QUANTITY: JsonDict = {
    "x-kubernetes-int-or-string": True,
    "maxLength": 63,
    RULES: [
        {
            "rule": "type(self) == int || isQuantity(self)",
            ("message"): (
                "this is not a quantity; write for example 2, 500m or 8Gi: units have no B, and no space before them"
            ),
        }
    ],
}
"""The API server's estimate assumes that an int-or-string is very long, so all values get the same advice."""
CONTROLLER = _spelling_rule(
    "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9._-]+$')",
    "names no controller",
    (_like("multi-?kueue"), "'write kueue.x-k8s.io/multikueue'"),
    otherwise="write a domain and a name, for example kueue.x-k8s.io/multikueue",
)
