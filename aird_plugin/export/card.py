"""MODEL_CARD.md: files, usage, accuracy, provenance, licence and limits of an exported student."""

import json
from pathlib import Path

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.export.origin import name_of, origin
from aird_plugin.export.thresholds import as_markdown
from aird_plugin.export.usage import own_usage, usage
from aird_plugin.models.onnx_teacher import OnnxTeacher


def model_card(name: str, metadata: dict, rows: list[dict], result, wide: OnnxTeacher) -> str:
    """The card of an exported student.

    metadata: the run's recipe.json. rows: its verification. result: `folder.ExportResult`. wide: the 112 px file.
    """
    files = result.files
    thresholds = ["## Thresholds", as_markdown(result.thresholds)] if result.thresholds else []
    parts = [
        f"# {name}",
        summary(metadata),
        "## Files",
        file_table(files),
        int8_table(result.int8),
        "## Use",
        usage(name, files) if wide.takes_usual_input else own_usage(name, wide),
        CENTERED if result.centered else "",
        *thresholds,
        "## Accuracy",
        accuracy(rows, result.centered),
        "## Provenance",
        provenance(metadata),
        "## Licence, use and limits",
        LIMITS,
    ]
    parts = [part for part in parts if part]
    return "\n\n".join(parts) + "\n"


CENTERED = """\
The graph normalises each feature and subtracts the mean of the training images: compare features by cosine as usual. A feature
of the teacher must be normalised and centered too before it is compared with one of this file; its mean is `teacher` in
`means.json`."""


def summary(metadata: dict) -> str:
    """One paragraph: network, input and training resolution."""
    native = metadata.get("input_size", FACE_SIDE) != FACE_SIDE
    size = f"{metadata['input_size']} px images" if native else "112 px images; smaller ones are upsampled to that size"
    return (
        f"A face recognition network ({metadata['network']}, {metadata['parameters']:,} parameters, "
        f"{metadata['embedding_size']}-d embeddings) trained on {training_sizes(metadata)}. Input: {size}. "
        f"{degradations(metadata)}."
    )


def degradations(metadata: dict) -> str:
    """The resize of the training images, or the weights of a mixture; their versions are in the recipe below."""
    mixture = metadata["recipe"].get("degradation")
    if not isinstance(mixture, dict):
        return f"Resize: {metadata['resize']}"
    return f"Degradations, with their weights: {', '.join(f'{name} {weight:g}' for name, weight in mixture.items())}"


def training_sizes(metadata: dict) -> str:
    """The px of the training images, in words."""
    recipe, px = metadata["recipe"], metadata["px"]
    if recipe.get("px_range"):
        smallest, largest = recipe["px_range"]
        share = recipe.get("untouched")
        untouched = f", {share:.1%} of them untouched at {FACE_SIDE} px" if share else ""
        weights = recipe.get("px_weights")
        weighted = f" (weights of its parts, small to large: {', '.join(f'{weight:g}' for weight in weights)})" if weights else ""
        return f"images of {smallest} to {largest} px{weighted}{untouched}"
    return " and ".join(map(str, [px, *recipe.get("also_px", ())])) + " px images"


def file_table(files: list) -> str:
    """Each file with its minimum cosine to the trained network."""
    lines = ["| file | input | onnxruntime against torch | InsightFace against torch |", "|---|---|---|---|"]
    for file in files:
        cosine = file.insightface if isinstance(file.insightface, str) else f"{file.insightface:.6f}"
        lines.append(f"| `{file.file}` | {file.side} px | {file.onnxruntime:.6f} | {cosine} |")
    note = """Minimum cosine over the verification images; below 0.9999 a file is not written. arcface_torch's challenge checker
(`ArcFaceORT.check`) accepts the 112 px file within its time limit; it rejects int8 weights and other input sizes.
Tested with onnxruntime 1.16.3 to 1.32, the fp32 files also with OpenCV's dnn (4.10, 5.0) and OpenVINO (2026.4)."""
    return "\n".join([*lines, "", note])


def int8_table(int8: list) -> str:
    """Each int8 file with its accuracy beside that of fp32; empty without int8 files."""
    if not int8:
        return ""
    lines = ["| int8 file | input | pairs | px | LR-LR accuracy, per cent | fp32 |", "|---|---|---|---|---|---|"]
    for one in int8:
        lines.append(f"| `{one.file}` | {one.side} px | {one.pairs} | {one.px} | {one.accuracy:.2f} | {one.accuracy_fp32:.2f} |")
    return "\n".join(lines)


def accuracy(rows: list[dict], centered: bool = False) -> str:
    """The run's verification results. centered: the exported files subtract the training mean, which the run's rows do not."""
    if not rows:
        return "The run has no verification results (`val_targets`); evaluate the model with `aird evaluate` before use."
    lines = ["| pairs | px | protocol | HR model | FaceBN | accuracy, per cent | 95% interval |", "|" + "---|" * 7]
    for row in rows:
        low, high = row["ci95"]
        lines.append(
            f"| {Path(row['pairs']).name} ({row['n_pairs']} pairs) | {row['px']} | {row['protocol']} | {row['high_side'] or '-'} "
            f"| {row['facebn'] or '-'} | {row['accuracy']:.2f} | {low:.2f}-{high:.2f} |"
        )
    degradations = ", ".join(dict.fromkeys(str(row.get("degradation", "bicubic")) for row in rows))
    notes = [
        f"Degradation: {degradations}. An embedding is that of the image plus that of its mirror image; `get_feat` embeds the "
        "image alone.",
        UNCENTERED if centered else "",
        OPERATING_POINT,
    ]
    return "\n".join([*lines, "", " ".join(note for note in notes if note)])


UNCENTERED = (
    "These figures are of the network before the training mean was subtracted: those of the files differ, most of all in LR-HR. "
    "Measure them with `aird evaluate RUN --training-centre`."
)
OPERATING_POINT = (
    "Accuracy is not an operating point: choose a threshold on images of your own cameras, for the false-accept rate that your "
    "application allows."
)


def provenance(metadata: dict) -> str:
    """Training images, teacher, versions, code, machine and recipe."""
    source = origin(metadata)
    records, teacher = metadata["records"], metadata.get("teacher")
    teacher_text = f"{teacher['file']} ({teacher['network']}, sha256 {teacher['sha256']}...)" if teacher else "none"
    adapted, adapted_text = metadata.get("adapted"), ""
    if adapted:
        source_text = f"`{adapted['source']}`, keep {adapted['keep']}"
        adapted_text = f"BatchNorm statistics adapted to {adapted['faces']:,} unlabelled images ({source_text}).\n\n"
    skipped = f", {records['skipped']:,} unreadable ones left out" if records.get("skipped") else ""
    recipe = metadata["recipe"]
    blends, shares = recipe.get("blends", 0), {key: recipe.get(key) for key in ("turned", "cut")}
    made = "".join(f", {share:.0%} of them {key}" for key, share in shares.items() if share)
    blended = f", with {blends} blends of each with other images{made}" if blends else ""
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    return (
        f"Training images: {records['faces']:,} from `{name_of(records['path'])}`{skipped}{blended} "
        f"(sha256 {records['sha256'][:16]}...). Teacher: {teacher_text}.\n\n{adapted_text}"
        f"Versions: {versions}. {code_and_machine(source)}\n\n"
        f"<details><summary>Recipe, code, machine</summary>\n\n```json\n{json.dumps(source, indent=1)}\n```\n\n</details>"
    )


def code_and_machine(source: dict) -> str:
    """Code and machine of an `origin`; empty for a run of an older version, which did not record them."""
    code, machine = source["code"], source["machine"]
    if not (code and machine):
        return ""
    commit = f"commit {code['commit']}{', modified' if code['dirty'] else ''}" if code["commit"] else "unknown commit"
    starts = 1 + len(source["earlier"] or [])
    return (
        f"Code: tree {code['tree']}, {commit}. Seed {source['recipe'].get('seed')}, in {starts} start{'s' * (starts != 1)}, "
        f"the last {source['time']} on {machine['device']} "
        f"({machine['cpu']}, {machine['kernels']}, threads: {machine['threads']})."
    )


LIMITS = """\
A student inherits the licences of its teacher and of its training images; InsightFace's released weights, and most public face
datasets, are for non-commercial research. Fill in here which apply: ____

Intended use: comparing faces of people who know of it, as one source among others. Out of scope: automatic decisions about a
person. Small faces carry little information; error rates differ between groups of people, cameras and lighting, and were not
measured for yours. Test the model on your own population and cameras, and have a human decide. InsightFace Server needs a
MODEL.LICENSE, which only InsightFace signs."""
