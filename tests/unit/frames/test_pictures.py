"""Pictures of frames: their colours mean what they say, and their files hold every frame."""

from __future__ import annotations

import colorsys
import io
import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leym.contract.catalog import FIELDS
from leym.contract.problems import Problem
from leym.frames import pictures
from tests.support.paths import CHROMIUM
from tests.support.pictures import durations
from tests.support.refusals import tried


def test_pictures_show_what_they_say():
    phase = np.array([[[0.0, np.pi / 2], [np.pi, -np.pi]]], np.float32).repeat(8, 1).repeat(8, 2)
    rgb = pictures.render("phase", phase)
    assert rgb.shape == (1, 16, 16, 3)
    assert rgb.dtype == np.uint8
    assert np.abs(rgb[0, 15, 0].astype(int) - rgb[0, 15, 15]).max() <= 8, "the colours of pi and -pi meet"
    entropy = pictures.render("channel_entropy", np.array([[[0.0, 1.0]]], np.float32))
    assert entropy[0, 0, 0].tolist() == [68, 1, 84]
    assert entropy[0, 0, 1].tolist() == [253, 231, 37]
    power = np.zeros((1, 2, 2, 3), np.float32)
    power[0, 0, :, 0] = power[0, 1, :, 1] = 1
    red, green = pictures.render("channel_power", power)[0, :, 0]
    assert red[0] == 255
    assert green[1] == 255
    assert red.argmax() != green.argmax()
    psi = np.array([[[[1.0], [-1.0]], [[0.01], [0.01]]]], np.complex64)
    rgb = pictures.render("psi", psi)[0].astype(int)
    assert rgb[0, 0].argmax() == 0, "red at phase 0, cyan at pi"
    assert rgb[0, 1].argmin() == 0, "red at phase 0, cyan at pi"
    assert rgb[1].max() < 5, "dark where the sum is small"
    for bad in (3, -1):
        with pytest.raises(Problem, match="channels 0 to 2"):
            pictures.render("channel_power", power, bad)
    with pytest.raises(Problem, match="no channels"):
        pictures.render("phase", phase, 0)


def test_files_of_pictures_hold_every_frame():
    frames = np.zeros((5, 8, 10, 3), np.uint8)
    frames[np.arange(5), np.arange(5), 0] = 255
    for kind in ("gif", "webp", "apng"):
        with Image.open(io.BytesIO(pictures.encode(frames, kind, fps=10, scale=2))) as found:
            assert found.size == (20, 16)
            assert found.n_frames == 5
            assert found.format == {"apng": "PNG"}.get(kind, kind.upper())
            for i in range(5):
                found.seek(i)
                pixels = np.asarray(found.convert("RGB"))
                assert pixels[2 * i, 0].min() > 200
                assert pixels[2 * ((i + 1) % 5), 0].max() < 50
    with Image.open(io.BytesIO(pictures.encode(frames, "png", scale=1))) as strip:
        assert strip.size == (5 * 10 + 4 * pictures.GAP, 8)
    with Image.open(io.BytesIO(pictures.encode(frames[:1], "png"))) as one:
        assert one.size == (250, 200)
    with pytest.raises(Problem, match="pixels; at most"):
        pictures.encode(np.zeros((100, 64, 64, 3), np.uint8), "gif", scale=64)
    with pytest.raises(Problem, match="known: png, strip, gif, webp, apng, mp4"):
        pictures.encode(frames, "bmp")


def test_a_png_of_many_frames_is_a_bounded_sheet_in_reading_order():
    frames = np.arange(51, dtype=np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2).repeat(3, 3)
    with Image.open(io.BytesIO(pictures.encode(frames, "png"))) as found:
        assert found.size == (8 * 198 - 6, 7 * 198 - 6), "8 columns, 7 rows, 3 pixels a cell; it was 13,456 pixels wide"
        sheet = np.asarray(found)
    for i in range(56):
        y, x = i // 8 * 198, i % 8 * 198
        assert (sheet[y : y + 192, x : x + 192] == (i if i < 51 else 255)).all(), "white behind the last frame"


@given(
    n=st.integers(1, 9000),
    height=st.integers(4, 1024),
    width=st.integers(4, 1024),
    scale=st.none() | st.integers(1, 64),
    kind=st.sampled_from(list(pictures.FORMATS)),
)
def test_every_picture_is_bounded_or_refused_in_words(n, height, width, scale, kind):
    plan, refusal = tried(lambda: pictures.lay_out(kind, n, height, width, 12, scale))
    if plan is None:
        assert refusal.status == 422
        assert re.search(r"at most \d+.*choose", str(refusal))
        return
    assert max(plan.width, plan.height) <= pictures.SIDES[kind]
    assert plan.pixels <= 32 * 2**20
    assert plan.scale == (scale or plan.scale)
    if kind == "png":
        assert plan.columns * plan.height >= n
        assert plan.columns <= n


STILL = np.full((1, 8, 8, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("kind", "fps", "shown_ms"),
    [
        ("gif", 30, [30, 40, 30] * 10),  # a second; Pillow's own would be over in 0.9 s
        ("gif", 50, [20] * 50),
        ("gif", 12, [80, 90, 80] * 4),
        ("webp", 60, [17, 16, 17] * 20),  # a second
        ("webp", 12, [83, 84, 83] * 4),
        ("gif", 0.1, [10_000]),
        ("webp", 0.1, [10_000]),
        ("apng", 12, [83, 84, 83] * 4),
        ("apng", 0.1, [10_000]),
    ],
)
def test_an_animation_holds_every_frame_for_its_time(kind, fps, shown_ms):
    """Of a universe that stands still, too: Pillow merges equal frames into one."""
    file = pictures.encode(STILL.repeat(len(shown_ms), 0), kind, fps)
    assert durations(file) == shown_ms
    assert sum(shown_ms) == sum(pictures.lay_out(kind, len(shown_ms), 8, 8, fps).delays)


@pytest.mark.parametrize("fps", [50.1, 60])
def test_a_gif_faster_than_browsers_play_is_refused(fps):
    with pytest.raises(Problem, match=f"fps = {fps}: a GIF has at most 50 frames per second"):
        pictures.encode(STILL, "gif", fps)


PAGE = b"""<body><img src="/when-done"><script type="module">
  const tell = (found) => fetch("/found", {method: "POST", body: JSON.stringify(found)});
  window.onunhandledrejection = (event) => tell({error: String(event.reason)});
  const found = {};
  for (const kind of ["gif", "webp"]) {
    const decoder = new ImageDecoder({data: await (await fetch(`/${kind}`)).arrayBuffer(), type: `image/${kind}`});
    await decoder.tracks.ready;
    await decoder.completed;
    found[kind] = [];
    for (let i = 0; i < decoder.tracks.selectedTrack.frameCount; i++)
      found[kind].push((await decoder.decode({frameIndex: i})).image.duration);
  }
  await tell(found);
</script>"""


@pytest.mark.browser
def test_a_browser_finds_every_frame_and_its_time(tmp_path):
    """In microseconds, as Chromium's ImageDecoder reads the files."""
    frames = np.concatenate([STILL, STILL, STILL + 9])
    files = {f"/{kind}": pictures.encode(frames, kind, 30) for kind in ("gif", "webp")} | {"/": PAGE}
    found, done = {}, threading.Event()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/when-done":  # the page is loaded, and the browser may end, once this image is answered
                done.wait(240)
            body = files.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path == "/" else "application/octet-stream")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            found.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", f"http://127.0.0.1:{server.server_port}/"]
    subprocess.run(command, capture_output=True, timeout=240, check=True)
    server.shutdown()
    server.server_close()
    assert found == {"gif": [30_000, 40_000, 30_000], "webp": [33_000, 34_000, 33_000]}


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
    values = np.random.default_rng(0).random((2, 8, 12, *((3,) if info.depth(3) else ())))
    values[0, 0, 0] = np.nan  # float16 may run over; a picture shows the rest
    for dtype in info.dtypes:
        rgb = pictures.render(field, values.astype(dtype))
        assert rgb.shape == (2, 8, 12, 3)
        assert rgb.dtype == np.uint8
        with Image.open(io.BytesIO(pictures.encode(rgb, kind, scale=2))) as found:
            found.load()
            assert found.size == (((2 * 12 + pictures.GAP) * 2 if kind in pictures.STILL else 24), 16)


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
