"""MODEL_CARD.md: what a file is, what it was made of, how well it does, how to use it, and what it is not for."""

import json
from pathlib import Path

from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.export.origin import name_of, origin
from aird_plugin.export.thresholds import as_markdown


def model_card(name: str, facts: dict, rows: list[dict], exported) -> str:
    """The card of an exported student. facts: the run's recipe.json; rows: its verification; exported: `folder.Exported`."""
    files = exported.files
    thresholds = ["## Thresholds", as_markdown(exported.thresholds)] if exported.thresholds else []
    parts = [f"# {name}", summary(facts), "## Files", table_of_files(files), table_of_int8(exported.int8), "## Use",
             use(name, files), *thresholds, "## Accuracy", accuracy(rows), "## Made of", made_of(facts),
             "## Licence, use and limits", LIMITS]  # fmt: skip
    parts = [part for part in parts if part]
    return "\n\n".join(parts) + "\n"


def summary(facts: dict) -> str:
    """One paragraph."""
    native = facts.get("input_size", FACE_SIDE) != FACE_SIDE
    takes = f"the {facts['input_size']} px face itself" if native else "112 px faces, small ones grown back to that size"
    return (
        f"A face recognition network ({facts['network']}, {facts['parameters']:,} parameters, {facts['embedding_size']}-d "
        f"embeddings) trained on {facts['px']} px faces. It takes {takes}. Resize: {facts['resize']}."
    )


def table_of_files(files: list) -> str:
    """Each file with the least cosine to the trained network, as it was run back."""
    lines = ["| file | takes | onnxruntime against torch | InsightFace against torch |", "|---|---|---|---|"]
    for file in files:
        inside = "not installed when this was exported" if file.insightface is None else f"{file.insightface:.6f}"
        lines.append(f"| `{file.file}` | {file.side} px | {file.onnxruntime:.6f} | {inside} |")
    told = """Least cosine over the faces that were tried; below 0.9999 a file is not written. arcface_torch's challenge checker
(`ArcFaceORT.check`) takes the 112 px file where its time limit allows; int8 weights and other sizes are against its rules."""
    return "\n".join([*lines, "", told])


def table_of_int8(int8: list) -> str:
    """Each int8 file and what it costs; empty where there is none."""
    if not int8:
        return ""
    lines = ["| int8 file | takes | pairs | px | accuracy | fp32 |", "|---|---|---|---|---|---|"]
    for one in int8:
        lines.append(f"| `{one.file}` | {one.side} px | {one.pairs} | {one.px} | {one.accuracy:.2f} | {one.accuracy_fp32:.2f} |")
    return "\n".join(lines)


def use(name: str, files: list) -> str:
    """How to call it, with nothing of this project installed."""
    text = (
        f"Copy this folder to `~/.insightface/models/{name}`; with a detector of InsightFace's beside it (`det_10g.onnx`),\n"
        f"`FaceAnalysis(name={name!r})` uses it. Alone, on aligned 112 px BGR crops:\n\n"
        "```python\nfrom insightface.model_zoo import get_model\n"
        f"model = get_model('{name}/{name}.onnx')\nfeatures = model.get_feat(crops)   # not normalised; compare by cosine\n```"
    )
    native = next((file for file in files if file.side != FACE_SIDE), None)
    if native is None:
        return text
    return text + (
        f"\n\nThe 112 px file shrinks faces to {native.side} px inside. Where you have {native.side} px faces already, feed\n"
        f"those to `{native.file}`; InsightFace 2.1 loads it by its manifest:\n\n"
        f"```python\nmodel = get_model('{name}/native', model_task='recognition')\n"
        f"features = model.get_feat(small_crops)   # {native.side} px, BGR\n```"
    )


def accuracy(rows: list[dict]) -> str:
    """The run's own verification."""
    if not rows:
        return "The run verified nothing (`val_targets`); measure it with `aird evaluate` before anyone relies on it."
    lines = ["| pairs | px | protocol | high side | FaceBN | accuracy, per cent | 95% interval |", "|" + "---|" * 7]
    for row in rows:
        low, high = row["ci95"]
        lines.append(
            f"| {Path(row['pairs']).name} ({row['n_pairs']} pairs) | {row['px']} | {row['protocol']} | {row['high_side'] or '-'} "
            f"| {row['facebn'] or '-'} | {row['accuracy']:.2f} | {low:.2f}-{high:.2f} |"
        )
    return "\n".join([*lines, "", "An accuracy is no operating point: choose a threshold on your own cameras, for the "
                      "false-accept rate that you can bear."])  # fmt: skip


def made_of(facts: dict) -> str:
    """Data, teacher, code, machine, recipe."""
    told = origin(facts)
    records, teacher = facts["records"], facts.get("teacher")
    taught = f"{teacher['file']} ({teacher['network']}, sha256 {teacher['sha256']}...)" if teacher else "none"
    adapted, fitted = facts.get("adapted"), ""
    if adapted:
        faces, source, keep = (adapted[key] for key in ("faces", "source", "keep"))
        fitted = f"BatchNorm statistics adapted to {faces:,} unlabelled faces (`{source}`, keep {keep}).\n\n"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Faces: {records['faces']:,} from `{name_of(records['path'])}` "
        f"(sha256 {records['sha256'][:16]}...). Teacher: {taught}.\n\n{fitted}"
        f"Versions: {versions}. {code_and_machine(told)}\n\n"
        f"<details><summary>Recipe, code, machine</summary>\n\n```json\n{json.dumps(told, indent=1)}\n```\n\n</details>"
    )


def code_and_machine(told: dict) -> str:
    """A sentence of an `origin`, empty for a run of a version that did not tell."""
    code, machine = told["code"], told["machine"]
    if not (code and machine):
        return ""
    commit = f"commit {code['commit']}{', changed' if code['dirty'] else ''}" if code["commit"] else "no commit known"
    starts = 1 + len(told["earlier"] or [])
    return (
        f"Code: tree {code['tree']}, {commit}. Seed {told['recipe'].get('seed')}, in {starts} start{'s' * (starts != 1)}, "
        f"the last {told['time']} on {machine['device']} ({machine['cpu']}, {machine['kernels']}, threads: {machine['threads']})."
    )


LIMITS = """\
A student inherits the licence of its teacher and of its training faces; InsightFace's released weights, and most public face
sets, are for non-commercial research. Fill in here which apply: ____

Meant for: comparing faces of people who know of it, as one source among others. Not meant for: deciding alone about a person.
Small faces carry little; errors differ between groups of people, cameras and light, and were not measured for yours. Test it on
the people and cameras it will see, and have a person decide. InsightFace Server needs a MODEL.LICENSE signed by InsightFace,
which only they give."""
