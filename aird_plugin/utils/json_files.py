"""Read a JSON file of unknown origin as a dict, with one-line errors."""

import json
from pathlib import Path


def read_object(path: Path) -> dict:
    """Return the JSON object in a file as a dict. Raises OSError, and ValueError naming the file where it holds anything else."""
    try:
        content = json.loads(path.read_bytes())
    # The parser raises RecursionError for deeply nested brackets.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object but a {type(content).__name__}")
    return content
