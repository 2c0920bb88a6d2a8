"""A new step, added to a copy of the tree as its page says: with the page's own commands, and in the files that it names."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from document import ROOT, blocks, section
from servers import SECONDS

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
PAGE = "dispatcher/docs/add-a-step.md"
EVENT_FILES = ["README.md", "configmap.yaml", "eventsource.yaml", "eventtrigger.yaml", "sample.cloudevent"]
STEP, EVENT, BEFORE = "plan-review", "customer-onboarded", "touchpoints-created"


def kinds(root):
    """The table of events: the subject of each, and the step that emits it."""
    table = (root / "shared/src/event.rs").read_text()
    rows = re.findall(r'^    \w+ = "([^"]+)", "[^"]+", (?:None|Some\("([^"]+)"\));$', table, re.MULTILINE)
    return [(subject, step or None) for subject, step in rows]


def missing(root):
    """What the tree lacks of the steps in the table."""
    found = []

    def wants(path, pattern):
        text = (root / path).read_text() if (root / path).exists() else ""
        if not re.search(pattern, text, re.MULTILINE):
            found.append(f"{path}: {pattern}")

    subjects = [subject for subject, _ in kinds(root)]
    steps = [step for _, step in kinds(root) if step]
    folders = {path.name for path in (root / "workers").iterdir() if path.is_dir()}
    found += [f"shared/src/event.rs: {step}" for step in sorted(folders - set(steps))]
    # Each step is started by the event before the one that it emits.
    for subject, step in zip(subjects, steps):
        program = step.replace("-", "_")
        wants(f"workers/{step}/Cargo.toml", rf'^name = "{step}"$')
        wants(f"workers/{step}/src/main.rs", rf"{program}::main\(\)")
        wants(f"workers/{step}/src/lib.rs", r"^impl Step for ")
        wants("dispatcher/demo/Cargo.toml", rf"^{step} = ")
        wants("dispatcher/demo/src/main.rs", rf'\("{step}", {program}::main\)')
        wants("docker/Dockerfile", rf'^FROM image AS {step}\n(?:.+\n)+ENTRYPOINT \["/{step}"\]$')
        wants("docker/bake.hcl", rf'^ +"{step}",$')
        wants("docker/stack.yaml", rf"^      {step}: {{ condition: service_completed_successfully }}$")
        wants("docker/stack.yaml", rf"^  {step}:\n(?:    .+\n)+?    build: .*target: {step} }}$")
        wants("docker/README.md", rf"^\| `[^`]*{step}` \|")
        for name in EVENT_FILES:
            wants(f"events/{subject}/{name}", ".")
        wants(f"events/{subject}/configmap.yaml", rf"^ +image: \S*{step}:latest$")
        for name in ["configmap", "eventsource", "eventtrigger"]:
            wants("events/Kustomization", rf"^      - {subject}\.{name}\.yaml={subject}/{name}\.yaml$")
        for name in ["deploy-all-events.sh", "deploy-event.sh"]:
            wants(f"events/{name}", rf"[ (]{subject}\b(?!-)")
    # What starts a step is not an end.
    for path in sorted((root / "events").glob("*/configmap.yaml")):
        ends = re.findall(r"^ +knapscen\.disco/ends: ([a-z-]+)", path.read_text(), re.MULTILINE)
        found += [f"{path.relative_to(root)}: ends {subject}" for subject in ends if subject in subjects[:len(steps)]]
    return found


def named():
    """The files that the page names for a new step."""
    files = re.findall(r"`([\w.<>/-]+/[\w.<>-]+)`", section((ROOT / PAGE).read_text(), "Files that a step needs"))
    names = {"<step>": STEP, "<event>": EVENT, "<before>": BEFORE}
    return {re.sub("<[a-z]+>", lambda found: names[found[0]], file) for file in files}


class Step(unittest.TestCase):
    def copy(self):
        root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "tree"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS,
        ).stdout.split("\0")
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        return root

    def run_in(self, root, *command, seconds=SECONDS, **environment):
        done = subprocess.run(
            command, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, timeout=seconds,
        )
        self.assertEqual(0, done.returncode, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_a_worker_is_at_most_80_lines(self):
        for path in (ROOT / "workers").glob("*/src/lib.rs"):
            product = path.read_text().split("#[cfg(test)]")[0]
            self.assertLessEqual(product.count("\n"), 80, path)

    def test_every_step_of_the_table_is_everywhere(self):
        self.assertEqual([], missing(ROOT))

    def test_a_new_step_is_added_as_its_page_says(self):
        root = self.copy()
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        *edits, tries = blocks((ROOT / PAGE).read_text())
        for edit in edits:
            self.run_in(root, "bash", "-euo", "pipefail", "-c", edit)
        touched = {path for path in root.rglob("*") if path.is_file() and before.get(path) != path.read_bytes()}
        self.assertEqual(named(), {str(path.relative_to(root)) for path in touched})
        self.assertEqual([], missing(root))
        # Each of them is needed.
        for path in touched:
            text = path.read_bytes()
            path.write_bytes(before.get(path, b""))
            self.assertNotEqual([], missing(root), path.relative_to(root))
            path.write_bytes(text)
        # The last block, with the programs that are built: only the new one is compiled, with what is there of other crates.
        test, validate, demo = tries.strip().split("\n")
        self.assertEqual(f"cargo test -p {STEP}", test)
        cargo = {"CARGO_TARGET_DIR": str(TARGET), "CARGO_NET_OFFLINE": "true"}
        self.run_in(root, *test.split(), "--quiet", seconds=20 * SECONDS, **cargo)
        self.run_in(root, "cargo", "build", "-p", STEP, "--quiet", seconds=20 * SECONDS, **cargo)
        programs = root / "programs"
        programs.mkdir()
        for name in ["dispatcher", *(step for _, step in kinds(root) if step)]:
            shutil.copy2(TARGET / "debug" / name, programs / name)
        own = {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(root)}
        for command in [validate, demo]:
            command = command.replace("cargo run -- ", "dispatcher ")
            shown = self.run_in(root, *command.split(), seconds=4 * SECONDS, **own)
        self.assertIn("5 of 5 customers onboarded", shown)
        self.assertIn("50 processes ended well", shown)


if __name__ == "__main__":
    unittest.main()
