"""What images are made of is all that they depend on."""

import pytest

from demo.relay import Relay
from devcluster import NodeKind
from devcluster.image_builder import Builder
from devcluster.images import select


def test_an_image_that_is_built_again_has_the_same_layers(relay: Relay) -> None:
    if relay.node is not NodeKind.KUBELET:
        pytest.skip("images are built where a kubelet runs them")
    builder, image = Builder(), select(["operator"])[0]
    builder.build([image])
    again = builder.rebuild(image)
    # Debian may have moved on since the first build, but not in the minute since the second one.
    assert again == list(builder.layers(image)) or again == builder.rebuild(image)
