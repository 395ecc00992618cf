"""Plain-text tables of result rows."""


def aligned(lines: list[list[str]]) -> str:
    """Lines of cells as plain text, columns flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def figure(value: float | None, digits: int) -> str:
    """A number with this many decimals, - for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: list[float]) -> str:
    """A confidence interval, with two decimals."""
    return "{:.2f}..{:.2f}".format(*ends)


def pair_names(rows: list[dict]) -> dict[str, str]:
    """Path of each pairs file -> its name, with so many of its folders that no other file of the rows has the same."""
    from aird_plugin.evaluation.comparison import short_names

    paths = list(dict.fromkeys(row["pairs"] for row in rows))
    return dict(zip(paths, short_names(paths), strict=True))


def print_left_out(*walks) -> None:
    """The accounting line of each folder of which something was left out (`data.image_files.Accounting`), once."""
    for line in dict.fromkeys(walk.line() for walk in walks):
        if line:
            print(line)


def setting_cells(row: dict, keys: tuple[str, ...]) -> list[str]:
    """The row's values of these keys, - for None. centre: "yes" for the mean of the test images; facebn: "+bn1d" if that too."""
    row = row | {"centre": {True: "yes", False: "no"}.get(row["centre"], row["centre"])}
    if row["include_bn1d"]:
        row["facebn"] = f"{row['facebn']}+bn1d"
    return ["-" if row[key] is None else str(row[key]) for key in keys]
