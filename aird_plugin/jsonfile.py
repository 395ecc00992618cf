"""A JSON file from anywhere -> a dict, or one sentence."""

import json
from pathlib import Path


def read_object(path: Path) -> dict:
    """What a file's JSON object holds. Raises OSError, and ValueError naming the file where it holds anything else."""
    try:
        content = json.loads(path.read_bytes())
    # Brackets without end are no ValueError to the parser.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object but a {type(content).__name__}")
    return content
