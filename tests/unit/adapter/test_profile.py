"""Profiles: those that come with the adapter, and what is wrong with one's own."""

from pathlib import Path

import pytest

from relay_adapter.profile import ProfileError, names, read_profile


def test_those_that_come_with_it() -> None:
    assert names() == ["comfyui", "llama-swap", "ollama", "process", "sglang", "triton", "vllm"]


def test_the_model_is_filled_in_everywhere() -> None:
    profile = read_profile("triton", "resnet")
    assert profile.unload[0].path == "/v2/repository/models/resnet/unload"
    assert profile.loaded is not None
    assert profile.loaded.contains == {"name": "resnet", "state": "READY"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ready: {path: /}\nunload: [{path: /free}]\nunlaod: 1", "unlaod: Extra inputs are not permitted"),
        ("ready: {path: /}", "write either `process`, or the calls of `unload`"),
        ("ready: {path: /}\nprocess: {}\nunload: [{path: /a}]", "write either `process`, or the calls of `unload`"),
        ("ready: {path: health}\nprocess: {}", "ready.path: String should match pattern"),
        (
            "ready: {path: /}\nprocess: {}\nloaded: {call: {path: /a}}",
            "loaded: write one of equals, empty",
        ),
        ("ready: [", "is no YAML"),
        ("- 1", "Input should be a valid dictionary"),
        ("ready: {path: '/{model}'}\nprocess: {}", "needs the name of a model: set RELAY_ADAPTER_MODEL"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError) as caught:
        read_profile(str(file), "")
    assert says in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ProfileError, match=r"is neither one of comfyui, llama-swap, .* nor a file"):
        read_profile("vlm", "")
