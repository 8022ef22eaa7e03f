#!/usr/bin/env python3
"""Opens DIR/report.html in headless Chromium, over its DevTools protocol, and compares what it shows with
DIR/metrics.jsonl and DIR/routing.jsonl. Prints a line for each thing that holds; leaves with 1 when one does not.

    scripts/check_report.py DIR [--screenshot FILE] [--dark] [--width 1280] [--from SELECTOR] [--height 900]

Needs chromium and the package python3-websocket.
"""

import argparse
import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from xml.etree import ElementTree

import websocket


class Browser:
    def __init__(self, width):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-port=0", f"--user-data-dir={self.profile.name}", f"--window-size={width},900",
             "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = pathlib.Path(self.profile.name) / "DevToolsActivePort"
        for _ in range(600):
            if port_file.exists() and port_file.read_text().count("\n"):
                break
            time.sleep(0.1)
        port = port_file.read_text().splitlines()[0]
        targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        page = next(t for t in targets if t["type"] == "page")
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=60, suppress_origin=True)
        self.number = 0
        self.events = []

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, event):
        while not any(e["method"] == event for e in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            sys.exit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def hover(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()
        self.profile.cleanup()


failures = 0


def check(what, holds, seen=""):
    global failures
    failures += 0 if holds else 1
    print(f"{'ok     ' if holds else 'FAILED '} {what}" + ("" if holds else f": {seen}"))


def is_well_formed(path):
    try:
        ElementTree.parse(path)
        return True
    except ElementTree.ParseError:
        return False


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# Where a point of a figure, in its own units, lies in the window; scrolls there.
PLACE = """((id, x, y) => {
  const svg = document.querySelector('#' + id + ' svg'), f = JSON.parse(document.getElementById('data').textContent).figures[id];
  svg.scrollIntoView({block: 'center'});
  const a = f.axes, px = a.box[0] + a.box[2] * (x - a.x[0]) / (a.x[1] - a.x[0]),
    py = a.box[1] + a.box[3] * (a.y[1] - y) / (a.y[1] - a.y[0]);
  const p = new DOMPoint(px, py).matrixTransform(svg.getScreenCTM());
  return [p.x, p.y];
})"""
TIP = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText"


def hover_text(browser, figure, x, y):
    browser.hover(*browser.js(f"{PLACE}({json.dumps(figure)}, {x}, {y})"))
    return browser.js(TIP)


def check_curves(browser, data, metrics):
    evals = [r for r in metrics if "val_loss" in r]
    curves = data["figures"]["loss"]["curves"]
    val = next(c for c in curves if c["label"].endswith("val"))
    check(f"the validation curve has the {len(evals)} points of metrics.jsonl",
          val["points"] == [[r["step"], r["val_loss"]] for r in evals], val["points"])
    for figure, key in (("step-loss", "loss"), ("learning-rate", "learning_rate"), ("gradient-norm", "grad_norm"),
                        ("throughput", "tokens_per_second")):
        steps = [r for r in metrics if key in r]
        points = data["figures"][figure]["curves"][0]["points"]
        check(f"{figure} goes from the first step to the last",
              points[0][0] == steps[0]["step"] and points[-1][0] == steps[-1]["step"], points[-1])
        mean = sum(r[key] for r in steps) / len(steps)
        drawn = sum(p[1] for p in points) / len(points)
        check(f"{figure} has the mean of metrics.jsonl within 2 %", abs(drawn - mean) <= 0.02 * mean, (drawn, mean))
    last = evals[-1]
    text = hover_text(browser, "loss", last["step"], data["figures"]["loss"]["axes"]["y"][0])
    check("hover over the loss tells the last evaluation's step and losses",
          f"{last['step']:,}" in text and f"{last['val_loss']:.4g}" in text and f"{last['train_loss']:.4g}" in text, text)
    label = browser.js("[...document.querySelectorAll('#loss svg text')].map(t => t.textContent).join('|')")
    check("the loss is written at the line's end", f"{last['val_loss']:.4g}" in label, label)
    drawn = browser.js("document.querySelectorAll('#step-loss svg path.line').length")
    check("lines are drawn", drawn >= 1, drawn)


def check_experts(browser, data, routing):
    layers, experts, k = len(routing[0]["layers"]), routing[0]["experts"], routing[0]["top_k"]
    loads_agree = sums_agree = True
    for l in range(layers):
        figure = data["figures"][f"load-layer-{l}"]
        rows_of_figure = figure["values"]
        for e in range(experts):
            loads_agree &= sum(rows_of_figure[e]) == sum(w["layers"][l]["load"][e] for w in routing)
        for w in routing:
            sums_agree &= sum(w["layers"][l]["load"]) == k * w["tokens"]
            sums_agree &= sum(sum(row[1:]) for row in w["layers"][l]["symbols"]) == k * w["tokens"]
    check("the loads in the page are those of routing.jsonl", loads_agree)
    check("loads and symbols' counts sum to k T in every layer and window", sums_agree)
    l, e = layers - 1, experts - 1
    figure = data["figures"][f"load-layer-{l}"]
    first, end = figure["columns"][-1]
    text = hover_text(browser, f"load-layer-{l}", (first + end) / 2, 0.5)
    check("hover over the last cell of the heatmap tells its count",
          f"expert {e}" in text and f"{figure['values'][e][-1]:,} assignments" in text, text)
    cells = browser.js(f"document.querySelectorAll('#load-layer-{l} svg path.over, #load-layer-{l} svg path.under').length")
    check("the heatmap has cells", cells > 0, cells)
    if k > 1:
        figure = data["figures"][f"together-layer-{l}"]
        text = hover_text(browser, f"together-layer-{l}", 1.5, experts - 0.5)
        check("hover over a pair tells its tokens", f"{figure['values'][0][1]:,} tokens together" in text, text)
    figure = data["figures"][f"symbols-layer-{l}"]
    text = hover_text(browser, f"symbols-layer-{l}", 2.5, experts - 0.5)
    check("hover over a symbol tells its share", figure["names"][2] in text and f"{figure['values'][0][2]:,} of" in text, text)
    table = browser.js("document.querySelectorAll('#health tbody tr').length")
    check("the table of health has a row a layer", table == layers, table)
    shown = browser.js("[...document.querySelectorAll('[data-panel=symbols]')].filter(p => !p.hidden).map(p => p.dataset.layer).join()")
    check("one layer's table is shown", shown == str(layers - 1), shown)


def check_map(browser, data):
    tokens = browser.js("document.querySelectorAll('#map-text i').length")
    expected = len(data["map"]["names"])
    check(f"the routing map has its {expected} tokens", tokens == expected and tokens > 100, tokens)
    place = """(i => { const t = document.querySelectorAll('#map-text i')[i]; t.scrollIntoView({block: 'center'});
      const b = t.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })"""
    k, layers = data["map"]["top_k"], len(data["map"]["expert"])
    t = 7
    for layer in (layers - 1, 0):
        browser.js(f"document.querySelector('#map-layers input[value=\"{layer}\"]').click()")
        browser.hover(1, 1)
        browser.hover(*browser.js(f"{place}({t})"))
        text = browser.js(TIP)
        wanted = [f"expert {e}: {g / 10:.1f} %" for e, g in
                  zip(data["map"]["expert"][layer][t * k:t * k + k], data["map"]["gate"][layer][t * k:t * k + k])]
        check(f"hover over a token tells its {k} experts and gates in layer {layer}",
              f"layer {layer}" in text and all(w in text for w in wanted), (text, wanted))
        classes = browser.js("[...document.querySelectorAll('#map-text i')].map(i => Number(i.className.match(/e(\\d+)/)[1]))")
        check(f"tokens have the colours of layer {layer}", classes == data["map"]["expert"][layer][::k])
    browser.js("document.querySelector('#map-experts button[value=\"1\"]').click()")
    dim = browser.js("document.querySelectorAll('#map-text i.dim').length")
    without = sum(1 not in data["map"]["expert"][0][i * k:i * k + k] for i in range(tokens))
    check("an expert's button dims what it does not take", dim == without, (dim, without))
    browser.js("document.querySelector('#map-experts button[value=\"1\"]').click()")


def check_keys(browser, data):
    browser.hover(1, 1)
    browser.js("document.getElementById('loss').focus()")
    browser.key("ArrowRight")
    text = browser.js(TIP)
    check("arrow keys move through a focused plot", text.startswith("step"), text)
    browser.js("document.querySelector('#loss details').open = true")
    time.sleep(0.2)
    cells = browser.js("[...document.querySelectorAll('#loss details td')].map((td) => td.textContent)")
    curves = data["figures"]["loss"]["curves"]
    steps = {point[0] for curve in curves for point in curve["points"]}
    filled = len(steps) + sum(len(curve["points"]) for curve in curves)
    check("all numbers can be read as a table",
          (len(cells), sum(cell != "" for cell in cells)) == (len(steps) * (len(curves) + 1), filled), cells)
    browser.js("document.querySelector('#loss details').open = false; document.activeElement.blur()")


def check_schemes(browser):
    colors = {}
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colors[scheme] = browser.js("getComputedStyle(document.body).backgroundColor + getComputedStyle(document.querySelector('svg text')).fill")
    check("dark and light are different", colors["dark"] != colors["light"], colors)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    for width in (1280, 400):
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        wide = browser.js("document.documentElement.scrollWidth")
        check(f"nothing sticks out of a window {width} wide", wide <= width, wide)
    browser.call("Emulation.clearDeviceMetricsOverride")


def screenshot(browser, args):
    scheme = "dark" if args.dark else "light"
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Emulation.setDeviceMetricsOverride", width=args.width, height=args.height, deviceScaleFactor=1, mobile=False)
    top = browser.js(f"scrollTo(0, 0); document.querySelector({json.dumps(args.start)}).getBoundingClientRect().y")
    shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True,
                        clip={"x": 0, "y": max(0, top), "width": args.width, "height": args.height, "scale": 1})
    pathlib.Path(args.screenshot).write_bytes(base64.b64decode(shot["data"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--screenshot", metavar="FILE")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--from", dest="start", default="body", metavar="SELECTOR")
    args = parser.parse_args()

    figures = list((args.folder / "report").glob("*.svg"))
    broken = [figure.name for figure in figures if not is_well_formed(figure)]
    check(f"the {len(figures)} .svg files are well-formed", figures and not broken, broken)
    metrics, routing = rows(args.folder / "metrics.jsonl"), rows(args.folder / "routing.jsonl")
    address = (args.folder / "report.html").resolve().as_uri()
    browser = Browser(args.width)
    try:
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        browser.call("Page.navigate", url=address)
        browser.wait_for("Page.loadEventFired")
        data = json.loads(browser.js("document.getElementById('data').textContent"))
        check("every figure is in the page",
              browser.js("[...document.querySelectorAll('figure svg')].length") == len(data["figures"]))
        check_curves(browser, data, metrics)
        check_experts(browser, data, routing)
        check_map(browser, data)
        check_keys(browser, data)
        check_schemes(browser)
        if args.screenshot:
            screenshot(browser, args)
        noise = [e for e in browser.events if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]
        check("the console is empty", not noise, noise)
        requests = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
        foreign = [url for url in requests if url != address and not url.startswith("data:")]
        check("nothing but the page itself was asked for", address in requests and not foreign, requests)
    finally:
        browser.close()
    sys.exit(f"{failures} failed" if failures else 0)


if __name__ == "__main__":
    main()
