"""How many masks a request may have, and how prompts share them."""

import numpy as np
import pytest

from sam3_server.errors import TooMuchWorkError
from sam3_server.worker.allowance import MOST_RUNS, Allowance
from sam3_server.worker.bounds import bounded, share
from sam3_server.worker.instances import Found
from sam3_server.worker.protocol import Form, LabelForm, Prompt, Query, WorkerError
from tests.unit.sam3.conftest import Resident, png

MOST = 4_000_000_000


def query(prompts: int, form: Form = "rle", labels: LabelForm | None = None, most: int = 200) -> Query:
    return Query(prompts=[Prompt(text="cat")] * prompts, form=form, labels=labels, max_instances=most)


def found(instances: int) -> Found:
    return Found([(0.0, 0.0, 1.0, 1.0)] * instances, [0.5] * instances, [np.zeros(1, np.uint32)] * instances, 0)


@pytest.mark.parametrize(("width", "height", "masks"), [(1000, 1000, 4000), (7000, 7000, 81), (8, 6, MOST // 48)])
def test_a_request_may_have_as_many_masks_as_fit_into_its_megapixels(width: int, height: int, masks: int) -> None:
    assert bounded(query(32), width, height, MOST).max_masks == masks


def test_more_prompts_than_masks_are_refused_with_the_numbers() -> None:
    with pytest.raises(TooMuchWorkError) as refused:
        bounded(query(32), 7000, 7000, 1_000_000_000)
    assert str(refused.value) == (
        "32 prompts on 49.0 megapixels are 1,568 megapixels of masks with one instance each, 1,000 are allowed for one "
        "request; send at most 20 prompts at a time, scale the image down to 31.2 megapixels, or ask for boxes alone "
        "(format: box)"
    )
    assert bounded(query(20), 7000, 7000, 1_000_000_000).max_masks == 20
    assert bounded(query(1), 7000, 7000, 1_000_000).max_masks == 1, "one mask is always allowed"


def test_boxes_alone_are_not_bounded() -> None:
    assert bounded(query(32, "box"), 7000, 7000, 1).max_masks is None
    assert bounded(query(32, "box", "box"), 7000, 7000, 1).max_masks is None
    with pytest.raises(TooMuchWorkError):
        bounded(query(32, "box", "polygon"), 7000, 7000, 1)


def test_what_a_prompt_leaves_is_shared_by_those_after_it() -> None:
    asked = query(4).model_copy(update={"max_masks": 20})
    assert share(asked, []) == 5
    assert share(asked, [found(2)]) == 6
    assert share(asked, [found(2), found(6), found(0)]) == 12
    assert share(asked.model_copy(update={"max_instances": 3}), []) == 3
    assert share(query(4), []) == 200


def test_masks_with_too_many_edges_are_refused() -> None:
    allowance = Allowance(60, lambda: False)
    allowance.take(MOST_RUNS)
    with pytest.raises(WorkerError, match=r"more than 16,000,000 edges.*; send fewer prompts"):
        allowance.take(1)


async def test_a_request_for_too_much_loads_no_model(resident: Resident) -> None:
    image = png(100, 60)
    refused = await resident.segment("cat", "dog", "bird", image=image)
    assert refused.status_code == 422
    assert "send at most 2 prompts at a time" in refused.json()["detail"]
    assert "retry-after" not in refused.headers
    assert not resident.script.launched
    assert (await resident.segment("cat", "dog", "bird", image=image, format="box")).status_code == 200
    assert (await resident.segment("cat", "dog", image=image)).status_code == 200
    assert [query.max_masks for query in resident.script.launched[0].queries] == [None, 2]
