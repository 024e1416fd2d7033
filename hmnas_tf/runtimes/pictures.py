"""Pictures that an artifact which reads files turns into given images of its network, to compare the two."""

import json

import numpy as np


def framed(pixels, labelling):
    """Returns uint8 images [B, height, width, C] with the border that is cut off pictures of the size they have then.

    Args:
        pixels: uint8 images [B, H, W, C] of the network's size.
        labelling: JSON text of the artifact.
    """
    resized = json.loads(labelling).get("resized", 0)
    if not resized:
        return pixels
    before = [(resized - side) // 2 for side in pixels.shape[1:3]]
    borders = [(first, resized - side - first) for first, side in zip(before, pixels.shape[1:3], strict=True)]
    return np.pad(pixels, [(0, 0), *borders, (0, 0)])
