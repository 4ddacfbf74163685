"""Roboflow's client, in an environment that has it: `python sam3_sdk_calls.py URL IMAGE` prints its answers as JSON."""

import json
import sys

from inference_sdk import InferenceHTTPClient

POINTS = [{"x": 20, "y": 30, "positive": True}, {"x": 70, "y": 10, "positive": False}]
BOX = {"x": 45, "y": 30, "width": 40, "height": 20}


def main() -> None:
    """Embed the image, click on it, and find a concept on it."""
    url, image = sys.argv[1:]
    client = InferenceHTTPClient(api_url=url, api_key="unused")
    answers = {
        "embedded": client.sam3_embed_image(image, image_id="frame-7"),
        "outlined": client.sam3_visual_segment(image, prompts=[{"points": POINTS}, {"box": BOX}]),
        "run_lengths": client.sam3_visual_segment(image, prompts=[{"points": POINTS}], mask_input_format="rle"),
        "several": client.sam3_visual_segment([image, image], prompts=[{"box": BOX}], multimask_output=False),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
