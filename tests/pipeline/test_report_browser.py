"""The report in a real browser, opened from disk: nothing missing or fetched, usable by keyboard and on a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from tests.report.report_inputs import make_inputs, report

pytestmark = pytest.mark.long

# As root, Chromium starts only without its sandbox; it has no network to reach and opens files of our own.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=8000",
]  # fmt: skip
#: Appended to a copy of the page, in which its policy is taken out: a person at the keyboard, and what they see.
VISITOR = """
(async () => {
  const seen = {};
  const tick = () => new Promise((done) => setTimeout(done, 50));
  const until = async (holds) => { for (let round = 0; round < 40 && !holds(); round += 1) await tick(); };
  const viewer = document.getElementById("viewer");
  const part = (name) => viewer.querySelector(`[data-part="${name}"]`);
  const press = (key, target) => (target || document.activeElement).dispatchEvent(
    new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  const move = (name, value) => {
    part(name).value = value;
    part(name).dispatchEvent(new Event("input", {bubbles: true}));
  };
  await tick();
  for (const image of document.querySelectorAll("img[loading]")) image.loading = "eager";
  const pictures = [...document.querySelectorAll("img[src]")];
  await until(() => pictures.every((image) => image.complete));
  const empty = pictures.filter((image) => !image.naturalWidth);
  seen.broken = empty.map((image) => image.src);
  seen.closedAtFirst = !viewer.open;
  const link = document.querySelector("#missed a.panels");
  link.focus();
  link.click();
  await tick();
  seen.opened = viewer.open;
  seen.hash = location.hash === link.getAttribute("href");
  seen.focusInside = viewer.contains(document.activeElement);
  seen.title = part("title").textContent;
  seen.radiograph = part("radiograph").getAttribute("src");
  seen.agreementShown = !part("agreement-layer").hidden;
  seen.truthShown = !part("truth-layer").hidden;
  seen.predictionDisabled = part("prediction-shown").disabled;
  press("ArrowRight");
  await tick();
  seen.next = part("title").textContent;
  press("ArrowLeft");
  press("ArrowLeft");
  await tick();
  seen.around = part("title").textContent;
  press("ArrowRight", part("window"));
  seen.sliderKeepsArrows = part("title").textContent === seen.around;
  move("window", 100);
  move("level", 60);
  const channel = document.querySelector("#grey-window feFuncR");
  seen.slope = Number(channel.getAttribute("slope"));
  seen.intercept = Number(channel.getAttribute("intercept"));
  move("opacity", 25);
  seen.opacity = part("agreement-layer").style.opacity;
  part("truth-shown").click();
  seen.truthAfterClick = !part("truth-layer").hidden;
  press("o");
  seen.hiddenByKey = part("agreement-layer").style.opacity;
  part("reset").click();
  seen.resetSlope = Number(channel.getAttribute("slope"));
  part("close").click();
  await tick();
  seen.closed = !viewer.open;
  seen.focusReturned = document.activeElement.matches("#missed a.panels");
  location.hash = document.querySelector("#unlabelled a.panels").getAttribute("href");
  await until(() => viewer.open);
  seen.byHash = viewer.open && part("title").textContent;
  seen.noTruth = part("truth-shown").disabled && part("agreement-shown").disabled;
  location.hash = "#cases";  // what the browser's Back does: the budget of virtual time ends before a real one is heard
  await until(() => !viewer.open);
  seen.leavingCloses = !viewer.open;
  seen.width = innerWidth;
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  parent.postMessage(JSON.stringify(seen), "*");
})();
"""
LISTENER = """<!DOCTYPE html><body style="margin:0">
<iframe src="{page}" style="width:{width}px;height:800px;border:0"></iframe>
<pre id="seen"></pre><script>
addEventListener("message", (event) => {{ document.getElementById("seen").textContent = event.data; }});
</script></body>"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    inputs = make_inputs(tmp_path_factory.mktemp("browser"), root)
    report(inputs)
    return inputs / "data/report"


@pytest.fixture
def visit(browser, tmp_path):
    def run(address, *flags):
        command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, "--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, console

    return run


def fetched(log):
    """Addresses that pages of file:// asked the network for; Chromium's own services have another isolation key."""
    text = log.read_text().rstrip()
    try:
        events = json.loads(text)["events"]
    except json.JSONDecodeError:  # the browser ended before it closed the list
        events = json.loads(f"{text.rstrip(',')}]}}")["events"]
    asked = [event.get("params", {}) for event in events]
    return [
        params["url"]
        for params in asked
        if params.get("url", "").startswith(("http", "ws")) and "file:" in str(params.get("network_isolation_key"))
    ]


def test_it_opens_from_disk_and_asks_the_network_for_nothing(folder, visit, tmp_path):
    log = tmp_path / "net.json"
    page, console = visit(f"{folder.as_uri()}/index.html", f"--log-net-log={log}")
    assert console == []
    assert "<title>Pneumothorax segmentation" in page
    assert not re.search(r'<dialog[^>]*\bopen=""', page)
    assert fetched(log) == []


def test_a_page_that_asks_the_network_would_be_seen(visit, tmp_path):
    (tmp_path / "page.html").write_text('<img src="http://example.org/picture.png">')
    visit(f"{tmp_path.as_uri()}/page.html", f"--log-net-log={tmp_path / 'net.json'}")
    assert set(fetched(tmp_path / "net.json")) == {"http://example.org/picture.png"}


def test_a_fragment_opens_its_case(folder, visit):
    first = re.search(r'href="#(case-[^"]+)"', (folder / "index.html").read_text()).group(1)
    page, console = visit(f"{folder.as_uri()}/index.html#{first}")
    assert console == []
    assert re.search(r'<dialog[^>]*\bopen=""', page)
    assert "Best · 1 of" in page
    image = re.search(r'<img data-part="radiograph"[^>]*>', page).group(0)
    name = first.removeprefix("case-")
    assert f'/cases/{name}-radiograph.jpg"' in image
    assert f'alt="Radiograph {name}"' in image


@pytest.mark.parametrize("fragment", ["#case-none", "#%"])
def test_other_fragments_open_nothing(folder, visit, fragment):
    page, console = visit(f"{folder.as_uri()}/index.html{fragment}")
    assert console == []
    assert not re.search(r'<dialog[^>]*\bopen=""', page)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_visitor_with_a_keyboard(folder, visit, width, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    text = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", (copy / "index.html").read_text())
    (copy / "index.html").write_text(text.replace("</body>", f"<script>{VISITOR}</script></body>"))
    (copy / "outer.html").write_text(LISTENER.format(page="index.html", width=width))
    page, console = visit(f"{copy.as_uri()}/outer.html", "--window-size=1400,900")
    assert console == []
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', page, flags=re.DOTALL).group(1)))
    assert seen.pop("broken") == []
    assert "/cases/test-" in seen.pop("radiograph")
    assert seen.pop("intercept") == pytest.approx(-(60 - 50) / 100)
    assert seen.pop("overflow") <= 0, "the page is wider than the screen"
    assert seen == {
        "closedAtFirst": True, "opened": True, "hash": True, "focusInside": True, "title": "Missed · 1 of 1",
        "agreementShown": True, "truthShown": False, "predictionDisabled": True, "next": "Missed · 1 of 1",
        "around": "Missed · 1 of 1", "sliderKeepsArrows": True, "slope": 2.55, "opacity": "0.25",
        "truthAfterClick": True, "hiddenByKey": "0", "resetSlope": 1, "closed": True, "focusReturned": True,
        "byHash": "Images without annotation · 1 of 2", "noTruth": True, "leavingCloses": True, "width": width,
    }  # fmt: skip


def test_it_prints(folder, browser, tmp_path):
    target = tmp_path / "report.pdf"
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={target}"]
    subprocess.run([*command, f"{folder.as_uri()}/index.html"], capture_output=True, timeout=120, check=True)
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Subtype /Image") >= 10, "pictures that load lazily are in print too"
