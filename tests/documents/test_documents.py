"""What readers meet: links that lead somewhere, short lines, plain words, and facts that another file also states."""

import os
import pathlib
import re
import subprocess
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONGEST_LINE = 120
LONGEST_README = 120

# Words that readers stumble over, with what to write instead.
RIDDLES = {
    r"\b(is|are) none\b": "say what it is not: is not a Job",
    r"\bis no (part|more|job|dead letter)\b": "use 'is not a …' or 'is removed'",
    r"\bso many\b": "name the number: at most N, this many",
    r"\bbe it\b": "use 'also if' or 'even if'",
    r"\bwho(so)?ever\b": "name the person or the program",
    r"\bsomebody\b|\bsomeone\b|\beverybody\b": "name the person or the program",
    r"\bof itself\b": "use 'by itself' or leave it out",
    r"\bas good as none\b": "use 'almost no'",
    r"\bthereof\b": "use 'of it'",
    r"\bwherein\b": "use 'in which'",
    r"\bhenceforth\b": "use 'from now on'",
    r"\bin whatever way\b": "name the ways",
    r"\bup to now\b": "use 'so far'",
    r"\btakes? force\b": "use 'takes effect'",
    r"\bstood still\b|\bstands still\b": "use 'has not changed' or 'does not go on'",
    r"\b(is|are|was|were|been|be) told\b|\btells of\b": "use 'reported', 'informed' or 'given'",
    r"\bown words\b": "use 'message'",
    r"\b(is|are) had\b": "use the plain verb",
    r"\bbears\b": "use 'has' or 'allows'",
    r"\bwalls\b": "use 'isolation settings'",
    r"\bmakes? the books\b|\bbooks balance\b": "say what is compared",
    r"\banew\b": "use 'again' or 'new'",
    r"\bmend(ed|s)?\b": "use 'fix' or 'correct'",
    r"\blikewise\b": "repeat what it refers to",
    r"\bin the way of\b": "use 'blocks'",
    r"\bmeant for\b": "use 'for'",
    r", for (it|they|he|she|then|there|that)\b": "use 'because'",
    r"\bof (ours|theirs|yours)\b": "use 'our', 'of this project' or 'your own'",
    r"\b(be|is|are) awaited\b": "use 'waits for'",
    r"\bgoes? (away|out of use)\b": "use 'is removed'",
    r"\bas (it|they) stands?\b": "use 'as it is' or 'unchanged'",
    r"\bpassed by\b": "use 'ignored'",
}


def documents():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split("\n")
    return sorted({ROOT / name for name in listed if name and (ROOT / name).exists()})


def prose(text):
    """Lines with their numbers, without code blocks."""
    is_code = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line


def paragraphs(text):
    """Lines with their numbers, by paragraph or list item; without tables, headings and pictures."""
    paragraph = []
    for number, line in prose(text):
        bare = line.strip()
        if not bare or bare.startswith(("|", "#", "<!--", "!")) or re.match(r"([-*]|\d+\.) ", bare):
            yield paragraph
            paragraph = []
        if bare and not bare.startswith(("|", "#", "<!--", "!")):
            paragraph.append((number, line))
    yield paragraph


def anchor(heading):
    """How a heading is linked to: letters, digits, spaces and hyphens, in lower case, spaces as hyphens."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def classes_of_dead_letters():
    """As the code has them. Those that use up no attempt never end in a dead letter."""
    failure = (ROOT / "dispatcher" / "crates" / "job" / "src" / "failure.rs").read_text()
    names = dict(re.findall(r'^    (\w+) = "([\w-]+)",$', failure, re.MULTILINE))
    body = re.search(r"fn uses_an_attempt.*?\n    }", failure, re.DOTALL).group(0)
    waits = set(re.findall(r"Self::(\w+)", body))
    assert len(names) > 20 and waits < set(names), (names, waits)
    return {name for variant, name in names.items() if variant not in waits}


def anchors(path):
    return {anchor(line.lstrip("#")) for _, line in prose(path.read_text()) if re.match(r"#+ ", line)}


class Documents(unittest.TestCase):
    def each(self):
        found = documents()
        self.assertGreater(len(found), 20)
        for path in found:
            yield path.relative_to(ROOT), path.read_text()

    def test_links_lead_somewhere(self):
        wrong = []
        checked = 0
        for name, text in self.each():
            for number, line in prose(text):
                for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                    if re.match(r"[a-z]+:", target):
                        continue
                    checked += 1
                    file, _, heading = target.partition("#")
                    path = (ROOT / name).parent / file if file else ROOT / name
                    if not path.exists():
                        wrong.append(f"{name}:{number}: {target}: there is no such file")
                    elif heading and path.suffix == ".md" and heading not in anchors(path):
                        wrong.append(f"{name}:{number}: {target}: there is no such heading")
        self.assertGreater(checked, 50)
        self.assertEqual([], wrong)

    def test_files_that_are_named_exist(self):
        wrong = []
        checked = 0
        for name, text in self.each():
            for number, line in prose(text):
                for path in re.findall(r"`((?:dispatcher|shared|workers|tests)/[\w./-]+\.(?:rs|py|json))`", line):
                    checked += 1
                    if "plan-review" not in path and not (ROOT / path).exists():
                        wrong.append(f"{name}:{number}: {path}: there is no such file")
        self.assertGreater(checked, 10)
        self.assertEqual([], wrong)

    def test_lines_of_prose_are_short(self):
        # Tables and links cannot be broken.
        wrong = [
            f"{name}:{number}: {len(line)} characters"
            for name, text in self.each() for number, line in prose(text)
            if len(line) > LONGEST_LINE and not line.lstrip().startswith("|") and "](" not in line and "://" not in line
            and not re.search(r"`[^`]{80,}`", line)
        ]
        self.assertEqual([], wrong, f"at most {LONGEST_LINE} characters a line, one sentence each")

    def test_each_line_is_one_sentence(self):
        wrong = []
        for name, text in self.each():
            for paragraph in paragraphs(text):
                for number, line in paragraph:
                    plain = re.sub(r"`[^`]*`", "x", re.sub(r"^\s*([-*]|\d+\.) ", "", line))
                    if re.search(r"[a-z0-9)]\.(\*\*)? [A-Z*\"(]", plain):
                        wrong.append(f"{name}:{number}: two sentences")
                for (number, line), (_, below) in zip(paragraph, paragraph[1:]):
                    ends = re.search(r"[.:!?…;,)]\**$|·$", line.rstrip())
                    if not ends and len(line.rstrip()) + 1 + len(below.strip()) <= LONGEST_LINE:
                        wrong.append(f"{name}:{number}: broken inside a sentence that fits on one line")
        self.assertEqual([], wrong)

    def test_no_riddles(self):
        # Not in code: but what a program says about itself is prose.
        lines = [(name, number, line) for name, text in self.each() for number, line in prose(text)]
        help_texts = ROOT / "dispatcher" / "docs" / "reference.md"
        lines += [(help_texts.name, number, line) for number, line in enumerate(help_texts.read_text().split("\n"), 1)]
        wrong = [
            f"{name}:{number}: {found[0]}: {instead}"
            for name, number, line in lines for phrase, instead in RIDDLES.items()
            if (found := re.search(phrase, line, re.IGNORECASE))
        ]
        self.assertEqual([], wrong)

    def test_the_readme_is_short(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().split("\n")), LONGEST_README)

    def test_every_script_is_in_the_index_of_entry_points(self):
        section = (ROOT / "CONTRIBUTING.md").read_text().split("## Entry points\n", 1)[1].split("\n## ", 1)[0]
        rows = [line.split("|")[1] for line in section.split("\n") if line.startswith("| `")]
        named = {path for row in rows for path in re.findall(r"`([^`]+)`", row)}
        listed = subprocess.run(
            ["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        ).stdout.split("\n")
        # Containers and tests call these.
        internal = re.compile(r"docker/offline/|docker/(age|secrets)\.sh|tests/servers/(reaper|publish|smtp)")
        scripts = {line.split("\t")[1] for line in listed if line.startswith("100755")}
        scripts = {path for path in scripts if not internal.match(path)}
        self.assertEqual(set(), {path for path in named if not (ROOT / path).is_file()}, "there is no such file")
        self.assertEqual(set(), {path for path in named - scripts if not path.endswith(".py")}, "not executable")
        self.assertEqual(set(), scripts - named, "missing in the table")

    def test_the_version_is_the_same_everywhere(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).group(1)
        self.assertEqual(version, newest)

    def test_every_class_of_dead_letters_has_a_remedy(self):
        text = (ROOT / "dispatcher" / "OPERATIONS.md").read_text().split("<!-- classes -->\n", 1)[1].split("\n\n", 1)[0]
        rows = [line.split("|") for line in text.split("\n")[2:]]
        listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row[1])]
        self.assertEqual(sorted(set(listed)), sorted(listed), "listed twice")
        self.assertEqual([], [row[1] for row in rows if not row[3].strip()], "no remedy")
        self.assertEqual(classes_of_dead_letters(), set(listed))

    def test_every_decision_is_in_the_list(self):
        folder = ROOT / "dispatcher" / "docs" / "decisions"
        records = {path.name for path in folder.glob("0*.md")}
        self.assertEqual(records, set(re.findall(r"\((0\S+\.md)\)", (folder / "README.md").read_text())))
        self.assertGreater(len(records), 5)


class Linter(unittest.TestCase):
    def test_markdown_is_well_formed(self):
        files = [str(path.relative_to(ROOT)) for path in documents()]
        found = subprocess.run(
            ["pymarkdown", "--strict-config", "scan", *files], cwd=ROOT, capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        self.assertEqual("", found.stdout + found.stderr)
        self.assertEqual(0, found.returncode)


if __name__ == "__main__":
    unittest.main()
