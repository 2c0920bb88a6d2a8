"""Writes dispatcher/docs/reference.md from what the programs say themselves.

usage: python3 tests/documents/reference.py [--check]
The programs have to be built: cargo build --workspace --bins
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "dispatcher" / "docs" / "reference.md"
PROGRAMS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"

HEAD = """# Reference: commands, flags and variables

This page is written by `python3 tests/documents/reference.py` from the programs' own help.
Do not edit it by hand: the test command checks that it is current.
"""


def help_of(program, *command):
    done = subprocess.run(
        [PROGRAMS / program, *command, "--help"], capture_output=True, text=True, env={}, cwd="/", timeout=60, check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.split("\n")).strip()


def commands_of(text):
    """The names below `Commands:`, without `help`."""
    block = re.search(r"^Commands:\n((?:  .*\n|\n)+)", text + "\n", re.MULTILINE)
    names = re.findall(r"^  (\S+)", block.group(1), re.MULTILINE) if block else []
    return [name for name in names if name != "help"]


def section(program, command=()):
    text = help_of(program, *command)
    title = " ".join([program, *command])
    yield f"{'##' if not command else '###'} {title}\n\n```text\n{text}\n```\n"
    for name in commands_of(text):
        yield from section(program, (*command, name))


def page():
    workers = sorted(path.parent.name for path in (ROOT / "workers").glob("*/Cargo.toml"))
    parts = [HEAD]
    for program in ["dispatcher", *workers]:
        parts.extend(section(program))
    return "\n".join(parts)


def main():
    text = page()
    if "--check" in sys.argv:
        if PAGE.read_text() != text:
            sys.exit(f"{PAGE.relative_to(ROOT)} is not current: run python3 tests/documents/reference.py")
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
