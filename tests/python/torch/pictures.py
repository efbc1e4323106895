"""Photographs in little: pictures whose classes differ, but not in every pixel."""

import os

import numpy
from PIL import Image

CLASSES = 4


def make(folder, each=60, side=40):
    """`each` JPEG files for each class, in class folders: a hue, with noise and stripes."""
    random = numpy.random.default_rng(1)
    for label in range(CLASSES):
        path = os.path.join(folder, f"class{label}")
        os.makedirs(path)
        hue = numpy.eye(4)[label][:3] * 90 + 60
        for i in range(each):
            values = hue + random.normal(0, 40, (side, side + i % 9, 3))
            values[:: 2 + label] += 30
            image = Image.fromarray(values.clip(0, 255).astype("uint8"))
            image.save(os.path.join(path, f"{i:03}.jpg"), quality=85)
    return CLASSES * each
