"""The page in a browser: nothing requested, figures there, samples move, readable at 400 pixels and in the dark."""

import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lm_eval_mdlm.report.write import ReportOptions, write_report
from tests.recordings.made import MASK
from tests.report.by_hand import write_run
from tests.report.test_replays import TEXTS, row, write_recorded


pytest.importorskip("matplotlib")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt install chromium)"),
]
DARK, LIGHT = 0, 1
FRAME = """<!DOCTYPE html><title>none</title><body style="margin:0">
<script>onmessage = (event) => { document.title = "ANSWER" + event.data; };</script>
<iframe src="probe.html" style="border:0; height:3000px; width:%dpx"></iframe>"""
"""Windows are no narrower than 500 pixels, frames are."""


def run_chromium(page: Path, *flags: str, width: int = 1200, scheme: int = LIGHT) -> str:
    """The standard output of a headless run."""
    own = [f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},1200", "--virtual-time-budget=3000"]
    look = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--blink-settings=preferredColorScheme={scheme}"]
    root = ["--no-sandbox"] if os.getuid() == 0 else []
    command = [str(CHROMIUM), "--disable-background-networking", *own, *look, *root, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def asked(page: Path, question: str, *, width: int = 1200, scheme: int = LIGHT, added: str = "") -> Any:
    """What a function body of JavaScript returns once the page's own script has run.

    Args:
        page: The file.
        question: Sees `blocked`, what the page was kept from loading.
        width: Of the page, pixels.
        scheme: `DARK` or `LIGHT`.
        added: HTML at the end of the page.
    """
    watch = (
        "<script>const blocked = []; addEventListener('securitypolicyviolation', (e) => blocked.push(e.blockedURI));"
    )
    answer = f"parent.postMessage(JSON.stringify((() => {{ {question} }})()), '*')"
    later = f"{added}<script>addEventListener('load', () => setTimeout(() => {{ {answer} }}, 200))</script></body>"
    html = page.read_text().replace("<style>", f"{watch}</script><style>", 1).replace("</body>", later)
    page.with_name("probe.html").write_text(html)
    frame = page.with_name("frame.html")
    frame.write_text(FRAME % width)
    (found,) = re.findall(r"<title>ANSWER(.*?)</title>", run_chromium(frame, "--dump-dom", scheme=scheme))
    return json.loads(unescape(found))


def pixels(path: Path) -> list[bytes]:
    """The rows of a PNG of 8 bits a channel, unfiltered where a row has no filter; enough to count colours."""
    data, place, found, size = path.read_bytes(), 8, b"", (0, 0)
    while place < len(data):
        (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        size = struct.unpack(">II", body[:8]) if kind == b"IHDR" else size
        found += body if kind == b"IDAT" else b""
        place += length + 12
    raw = zlib.decompress(found)
    stride = len(raw) // size[1]
    return [raw[i * stride : (i + 1) * stride] for i in range(size[1])]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for name, right, nfe in (("slow", 36, 64.0), ("middle", 35, 16.0), ("a method with a long name", 20, 4.0)):
        scores = [1] * right + [0] * (120 - right)
        write_run(folder / "runs" / name, scores, nfe=nfe, gen_kwargs={"way": name}, texts=["word " * 60] * 120)
    output = folder / "page.html"
    write_report(ReportOptions(folders=[folder / "runs"], output=output))
    return output


def test_nothing_is_requested_but_the_page(page):
    question = "return [blocked, performance.getEntriesByType('resource').length];"
    assert asked(page, question) == [[], 0]
    # What the page would be caught at:
    assert asked(page, question, added='<img src="http://localhost:1/x.png">')[0] == ["http://localhost:1/x.png"]


def test_the_plot_is_drawn_and_has_a_size(page):
    question = """
      const box = document.querySelector("#board-1 figure svg").getBoundingClientRect();
      const points = [...document.querySelectorAll('[id^="f1-front-point-"]')];
      return [box.width, box.height, points.length, points.every((one) => one.getBoundingClientRect().width > 0)];
    """
    width, height, count, drawn = asked(page, question)
    assert width > 300 and height > 200 and count == 3 and drawn


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", [DARK, LIGHT])
def test_page_is_no_wider_than_its_window_and_its_letters_are_legible(page, width, scheme):
    question = """
      const smallest = Math.min(...[...document.querySelectorAll("svg text")].map(
        (one) => one.getBoundingClientRect().height).filter((height) => height > 0));
      return [document.documentElement.scrollWidth, innerWidth, smallest,
              getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor];
    """
    wide, inner, smallest, ink, paper = asked(page, question, width=width, scheme=scheme)
    assert inner == width and wide <= inner
    assert smallest >= 7
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert abs(brightness[0] - brightness[1]) > 500
    assert (brightness[0] > brightness[1]) == (scheme == DARK)


def test_letters_of_the_plot_have_the_colour_of_the_text_around(page):
    question = """
      const label = document.querySelector("#board-1 svg text");
      return [getComputedStyle(label).fill, getComputedStyle(document.body).color];
    """
    for scheme in (DARK, LIGHT):
        fill, ink = asked(page, question, scheme=scheme)
        assert fill == ink


def test_a_screenshot_shows_more_than_an_empty_sheet(page):
    shot = page.with_name("shot.png")
    run_chromium(page, f"--screenshot={shot}", width=400, scheme=DARK)
    assert len(set(pixels(shot))) > 100


def test_lists_of_the_sample_browser_are_mcnemars_cells(page):
    question = """
      const root = document.getElementById("browser");
      const choose = (place, value) => {
        const select = root.querySelectorAll("select")[place];
        select.value = value;
        select.dispatchEvent(new Event("change"));
        return root.querySelector(".remark").textContent;
      };
      const start = [...root.querySelectorAll("select")].slice(1, 3).map((one) => one.selectedOptions[0].textContent);
      const names = [...root.querySelectorAll("select")[1].options].map((one) => one.textContent);
      choose(1, String(names.indexOf("slow")));
      choose(2, String(names.indexOf("middle")));
      return [start, ["all", "only A right", "only B right", "both wrong"].map((list) => choose(3, list))];
    """
    start, lines = asked(page, question)
    assert start == ["slow", "a method with a long name"]  # the best is the baseline, so another stands beside it
    assert [re.match(r"\d+", line)[0] for line in lines] == ["120", "1", "0", "84"]


def test_a_sample_opens_with_both_texts_and_pages_turn(page):
    question = """
      const root = document.getElementById("browser");
      const first = root.querySelector(".sample");
      first.open = true;
      first.dispatchEvent(new Event("toggle"));
      const shown = [...first.querySelectorAll(".pair pre")].map((one) => one.textContent.slice(0, 4));
      root.querySelectorAll(".controls button")[1].click();
      return [shown, root.querySelectorAll(".sample").length, root.querySelector(".sample summary span").textContent];
    """
    assert asked(page, question) == [["word", "word"], 50, "Problem 51"]


def test_every_table_can_be_copied_as_markdown(page):
    question = """
      const tables = document.querySelectorAll("table").length;
      const buttons = document.querySelectorAll(".titled h4 button").length;
      return [tables, buttons, asMarkdown(document.querySelector("table")).split("\\n").length];
    """
    tables, buttons, lines = asked(page, question)
    assert tables == buttons > 4 and lines == 5


@pytest.fixture(scope="module")
def replays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replays")
    write_recorded(folder / "runs", "med", [row(0)])
    output = folder / "page.html"
    write_report(ReportOptions(folders=[folder / "runs"], output=output))
    return output


OPENED = """
      const first = document.querySelector(".sample");
      first.open = true;
      first.dispatchEvent(new Event("toggle"));
      const [slider, button] = [first.querySelector(".replay input"), first.querySelector(".replay button")];
      const region = () => first.querySelector(".region").textContent;
"""


def test_replay_shows_the_region_as_every_pass_left_it(replays):
    question = f"""{OPENED}
      const shown = [region()];
      for (let pass = 0; pass <= Number(slider.max); pass++) {{
        slider.value = pass;
        slider.dispatchEvent(new Event("input"));
        shown.push(region());
      }}
      return [Number(slider.max), shown];
    """
    last, shown = asked(replays, question)
    spelt = {**TEXTS, MASK: "▁", 0: "∎"}
    wanted = ["".join(spelt[token] for token in region).replace("\n", "⏎\n") for region in row().regions()]
    assert last == row().num_steps == 3 and shown == [wanted[-1], *wanted]


def test_replay_marks_passes_and_plays_to_the_end(replays):
    question = f"""{OPENED}
      const told = () => first.querySelector(".replay .remark").textContent;
      const marked = (kind) => [...first.querySelectorAll(`.region .${{kind}}`)].map((one) => one.textContent);
      slider.value = 2;
      slider.dispatchEvent(new Event("input"));
      const second = [told(), marked("now"), marked("mask"), marked("fixed")];
      slider.value = 0;
      let tick = null;
      window.setInterval = (step) => {{ tick = step; return 1; }};
      button.click();
      const labels = [button.textContent];
      const seen = [];
      for (let i = 0; i < 4; i++) {{ tick(); seen.push(slider.value); }}
      labels.push(button.textContent);
      return [second, seen, labels, told(), marked("again")];
    """
    second, seen, labels, told, again = asked(replays, question)
    assert second[0] == "pass 2 of 3: 1 written, entropies sum to 0.00 nats; 1 taken back; answer entropy 0.00 nats"
    assert second[1] == ["</script>", "▁"] and second[2] == ["▁"] and second[3] == ["The answer is "]
    assert seen == ["1", "2", "3", "3"] and labels == ["Pause", "Play"]
    assert told.endswith("the exit ends the row here") and again == ["five⏎\n", "∎"]


@pytest.mark.parametrize("scheme", [DARK, LIGHT])
def test_replay_fits_a_narrow_page_and_its_letters_stand_out_from_their_ground(replays, scheme):
    question = f"""{OPENED}
      const colour = (one, name) => {{  // as a screen has it, above the ground of the region
        const canvas = document.createElement("canvas").getContext("2d");
        for (const ground of [getComputedStyle(first.querySelector(".region")).backgroundColor, name]) {{
          canvas.fillStyle = ground;
          canvas.fillRect(0, 0, 1, 1);
        }}
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      }};
      const written = [...first.querySelectorAll(".region .written")].map((one) => {{
        const style = getComputedStyle(one);
        return [colour(one, style.color), colour(one, style.backgroundColor)];
      }});
      return [document.documentElement.scrollWidth, written, blocked];
    """
    wide, written, blocked = asked(replays, question, width=400, scheme=scheme)
    assert wide <= 400 and blocked == [] and len(written) == 3
    for ink, paper in written:
        assert abs(sum(ink) - sum(paper)) > 250
