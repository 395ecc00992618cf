"""The `aird` command: a table of verbs. `aird VERB --help` is enough to use one."""

import argparse
import faulthandler
import importlib
import os
import sys

# Each is a module of aird_plugin/cli: `add_arguments(parser)`, and `run(args) -> exit code`, whose docstring is the help.
VERBS = (
    "train",
    "bank",
    "doctor",
    "evaluate",
    "compare",
    "align",
    "identify",
    "calibrate",
    "enrol",
    "recognise",
    "adapt",
    "export",
    "demo",
    "report",
    "recipes",
)
# 128 + SIGPIPE: what a shell reports of a command that this signal ended.
READER_GONE = 141


def parser() -> argparse.ArgumentParser:
    """Every verb and its arguments."""
    from aird_plugin import __version__

    top = argparse.ArgumentParser(prog="aird", description="Teach small networks to recognise tiny faces.")
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        module = importlib.import_module(f"aird_plugin.cli.{name}")
        about = (module.run.__doc__ or "").partition("\n\n")[0]
        verb = verbs.add_parser(name, help=about, description=about)
        module.add_arguments(verb)
        verb.set_defaults(handler=module.run)
    return top


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments. key=value may also stand behind an option, where argparse alone would not look for it."""
    from aird_plugin.utils.paths import expand_arguments

    top = parser()
    args, rest = top.parse_known_args(argv)
    if rest and (not hasattr(args, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return expand_arguments(args)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 bad input (one line `error: ...`; a traceback only with AIRD_DEBUG=1), 130 after Ctrl-C, 141 where
    the reader of the output has gone, as that of `aird ... | head` does."""
    from aird_plugin.utils.terminal import discard_output

    try:
        try:
            return run_verb(argv)
        finally:
            # Else the interpreter does at its exit, and prints a traceback.
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not discard_output():
            raise
        return READER_GONE


def run_verb(argv: list[str] | None) -> int:
    """`main`, for an output that is read to its end; else BrokenPipeError."""
    from aird_plugin.utils.memory import keep_freed_memory
    from aird_plugin.utils.terminal import print_any_name
    from aird_plugin.utils.threads import bound_spinning

    bound_spinning()
    args = parse(argv)
    keep_freed_memory()
    # A mapped file that was cut short, or lies on a drive that went away, ends the process: print where.
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    print_any_name()
    try:
        return args.handler(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        from aird_plugin.utils.errors import Interrupted, describe
        from aird_plugin.utils.terminal import reader_is_gone

        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
            return 130
        if os.environ.get("AIRD_DEBUG") == "1" or (isinstance(error, BrokenPipeError) and reader_is_gone()):
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
