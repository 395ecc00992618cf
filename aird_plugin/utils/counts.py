"""Numbers with their nouns. Importing this module loads nothing heavy."""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 frame`, `20 frames`, `1,204 photos`. plural: where it is not the singular with an s, as in `identities`."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def counted_identities(number: int) -> str:
    """`1 identity`, `6 identities`."""
    return counted(number, "identity", "identities")
