"""Style sheet of the page: two palettes here, the layout for desktop, phone and print in style.css. No external resources."""

from importlib import resources

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#1b2129",
    "soft": "#59636f",
    "edge": "#d3d9e0",
    "grid": "#e4e8ed",
    "link": "#0b5cad",
    "s0": "#0b66b0",
    "s1": "#c2410c",
    "s2": "#0a7a5a",
    "s3": "#8b3d94",
    "s4": "#856200",
    "s5": "#137d96",
    "s6": "#b3265e",
    "s7": "#5c636b",
}
DARK = {
    "paper": "#10151b",
    "panel": "#182029",
    "ink": "#e8edf3",
    "soft": "#a3afbc",
    "edge": "#384350",
    "grid": "#27313c",
    "link": "#7ab8f5",
    "s0": "#5bb2f2",
    "s1": "#f6985d",
    "s2": "#35c79c",
    "s3": "#d99bdd",
    "s4": "#e2c252",
    "s5": "#6cd3e6",
    "s6": "#ff8fb0",
    "s7": "#aab4be",
}


def style() -> str:
    """The style sheet. The dark palette applies to screens only, so printed pages are always light."""
    dark = _palette(DARK)
    layout = resources.files("aird_plugin.report").joinpath("style.css").read_text()
    series = "".join(f".{name}{{--c:var(--{name})}}" for name in LIGHT if name == "ink" or name[1:].isdecimal())
    return (
        f":root{{color-scheme:light;{_palette(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not(:has(#light:checked)){{color-scheme:dark;{dark}}}}}"
        f"@media screen{{:root:has(#dark:checked){{color-scheme:dark;{dark}}}}}{series}{layout}"
    )


def _palette(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
