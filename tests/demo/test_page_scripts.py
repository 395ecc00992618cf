"""Parts of the page's scripts that need no browser, run by Node with a document of which every element is alike."""

import json
import shutil
import subprocess
from importlib import resources

import pytest

START = """
globalThis.document = {getElementById: () => ({value: 100, setAttribute() {}}), createElement: () => null};
// Requests that wait for their answer.
const waiting = [];
globalThis.fetch = (path, {body}) => new Promise((resolve) => {
  const {photo, gallery} = JSON.parse(body), names = gallery.map((one) => one.name);
  waiting.push(() => resolve({ok: true, json: async () => ({faces: [], photo, names})}));
});
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));
async function answerAll() {
  while (waiting.length) {
    waiting.shift()();
    await settle();
  }
}
"""
STUBS = """
showPhoto = listPeople = showGallery = () => {};
info = {photo: {rates: [], gallery: 0}};
const found = (...embeddings) => { photo.full = {faces: embeddings.map((embedding) => ({embedding, px: 20, network_id: "n"}))}; };
"""


def run(script: str):
    """What the script passes to `report`, as JSON."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on PATH: apt-get install nodejs")
    folder = resources.files("aird_plugin.demo").joinpath("page")
    scripts = [folder.joinpath(name).read_text() for name in ("common.js", "photo.js", "gallery.js")]
    report = "const report = (value) => process.stdout.write(JSON.stringify(value));"
    text = "\n".join([*scripts, START, STUBS, report, f"(async () => {{ {script} }})();"])
    done = subprocess.run([node, "-"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_answer_for_an_earlier_photo_or_gallery_is_not_shown_for_the_present_one():
    script = """
    photo.file = "before"; recogniseAnew();
    photo.file = "after"; people.set("Ann", []); recogniseAnew();
    await answerAll();
    report([photo.seen.photo, photo.seen.names, photo.full.photo]);
    """
    assert run(script) == ["after", ["Ann"], "after"]


def test_people_of_a_second_photo_do_not_replace_those_of_the_first():
    script = """
    found("a", "b"); enrolShown();
    rename("Person 1", "Ann");
    found("c"); enrolShown();
    found("a", "b"); enrolShown();
    report([...people].map(([name, faces]) => [name, faces.map((face) => face.embedding)]));
    """
    assert run(script) == [["Ann", ["a"]], ["Person 2", ["b"]], ["Person 1", ["c"]]]


def test_false_accept_rate_at_the_start_has_a_threshold():
    """Of 600 impostor pairs, which support 10% alone, the page must not start with 1% and no decision."""
    script = """
    const chosen = (...rates) => {
      let options = [];
      setRates({value: "", replaceChildren: (...made) => { options = made; }}, ...rates);
      return options.filter((option) => option.selected).map((option) => option.value);
    };
    globalThis.Option = class { constructor(text, value, byDefault, selected) { Object.assign(this, {text, value, selected}); } };
    report([chosen([0.1, 0.01, 0.001], [0.1]), chosen([0.1, 0.01, 0.001], [0.1, 0.01]), chosen([0.1]), chosen([0.001]),
            chosen([0.1, 0.01], [])]);
    """
    assert run(script) == [[0.1], [0.01], [0.1], [0.001], [0.01]]
