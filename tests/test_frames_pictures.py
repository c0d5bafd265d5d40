"""Pictures of frames: their colours mean what they say, and their files hold every frame."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
from PIL import Image

from leym.catalog import FIELDS
from leym.frames import pictures
from leym.problems import Problem


def test_pictures_show_what_they_say():
    phase = np.array([[[0.0, np.pi / 2], [np.pi, -np.pi]]], np.float32).repeat(8, 1).repeat(8, 2)
    rgb = pictures.render("phase", phase)
    assert rgb.shape == (1, 16, 16, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb[0, 15, 0].astype(int) - rgb[0, 15, 15]).max() <= 8, "the colours of pi and -pi meet"
    entropy = pictures.render("channel_entropy", np.array([[[0.0, 1.0]]], np.float32))
    assert entropy[0, 0, 0].tolist() == [68, 1, 84] and entropy[0, 0, 1].tolist() == [253, 231, 37]  # viridis' ends
    power = np.zeros((1, 2, 2, 3), np.float32)
    power[0, 0, :, 0] = power[0, 1, :, 1] = 1
    red, green = pictures.render("channel_power", power)[0, :, 0]
    assert red[0] == 255 and green[1] == 255 and red.argmax() != green.argmax()
    psi = np.array([[[[1.0], [-1.0]], [[0.01], [0.01]]]], np.complex64)
    rgb = pictures.render("psi", psi)[0].astype(int)
    assert rgb[0, 0].argmax() == 0 and rgb[0, 1].argmin() == 0, "red at phase 0, cyan at pi"
    assert rgb[1].max() < 5, "dark where the sum is small"
    for bad in (3, -1):
        with pytest.raises(Problem, match="channels 0 to 2"):
            pictures.render("channel_power", power, bad)
    with pytest.raises(Problem, match="no channels"):
        pictures.render("phase", phase, 0)


def test_files_of_pictures_hold_every_frame():
    frames = np.zeros((5, 8, 10, 3), np.uint8)
    frames[np.arange(5), np.arange(5), 0] = 255
    for kind in ("gif", "webp"):
        with Image.open(io.BytesIO(pictures.encode(frames, kind, fps=10, scale=2))) as found:
            assert found.size == (20, 16) and found.n_frames == 5 and found.format == kind.upper()
            for i in range(5):
                found.seek(i)
                pixels = np.asarray(found.convert("RGB"))
                assert pixels[2 * i, 0].min() > 200 and pixels[2 * ((i + 1) % 5), 0].max() < 50
    with Image.open(io.BytesIO(pictures.encode(frames, "png", scale=1))) as strip:
        assert strip.size == (5 * 10 + 4 * pictures.GAP, 8)
    with Image.open(io.BytesIO(pictures.encode(frames[:1], "png"))) as one:
        assert one.size == (250, 200)
    with pytest.raises(Problem, match="pixels; at most"):
        pictures.encode(np.zeros((100, 64, 64, 3), np.uint8), "gif", scale=64)
    with pytest.raises(Problem, match="known: png, gif, webp"):
        pictures.encode(frames, "bmp")


def test_the_hue_of_psi_is_its_phase():
    turns = np.arange(6) / 6
    psi = np.exp(2j * np.pi * turns).astype(np.complex64).reshape(1, 1, 6, 1).repeat(4, 3) / 2
    found = pictures.render("psi", psi)[0, 0] / 255
    hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in found.tolist()]
    assert np.abs((hues - turns + 0.5) % 1 - 0.5).max() < 0.01, "red, yellow, green, cyan, blue, magenta"
    assert found.max(-1).min() > 0.99, "bright where all channels agree"
    one = pictures.render("psi", psi, channel=1)[0, 0] / 255
    assert np.allclose(one, found / 2, atol=0.01), "a channel is as bright as its length"


@pytest.mark.parametrize("field", list(FIELDS))
@pytest.mark.parametrize("kind", list(pictures.FORMATS))
def test_every_field_becomes_a_file_of_every_kind(field, kind):
    info = FIELDS[field]
    values = np.random.default_rng(0).random((2, 8, 12, *((3,) if info.per_channel else ())))
    values[0, 0, 0] = np.nan  # float16 may run over; a picture shows the rest
    for dtype in info.dtypes:
        rgb = pictures.render(field, values.astype(dtype))
        assert rgb.shape == (2, 8, 12, 3) and rgb.dtype == np.uint8
        with Image.open(io.BytesIO(pictures.encode(rgb, kind, scale=2))) as found:
            found.load()
            assert found.size == (((2 * 12 + pictures.GAP) * 2 if kind == "png" else 24), 16)


def test_pictures_that_no_file_can_hold_are_refused_with_the_bound():
    wide = np.zeros((1, 4, 1024, 3), np.uint8)
    for kind, scale, bound in (("webp", 16, "16383"), ("gif", 64, "65535")):
        with pytest.raises(Problem, match=f"{kind} holds at most {bound}") as refusal:
            pictures.encode(wide, kind, scale=scale)
        assert refusal.value.status == 422
    with Image.open(io.BytesIO(pictures.encode(wide, "webp", scale=15))) as found:
        assert found.size == (15_360, 60)
    with pytest.raises(Problem, match="at least one frame"):
        pictures.encode(wide[:0], "png")
