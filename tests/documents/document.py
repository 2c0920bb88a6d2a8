"""What is in a document: its sections, and the commands that a reader types."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def section(text, heading):
    """The text below a heading of the second level."""
    return re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text):
    """The bash blocks of a text, also those of list items."""
    found = re.findall(r"^( *)```bash\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]
