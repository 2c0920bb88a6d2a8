"""What a person would apply: kustomizations built by kubectl, files as they are, Jobs as the dispatcher renders them."""

import functools
import json
import os
import pathlib
import re
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "dispatcher" / "deploy"
EVENTS = ROOT / "events"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (DEPLOY / "components").iterdir())
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "dispatcher"


def output(*command):
    """What a command prints; its complaint is the test's."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


@functools.cache
def kustomization(folder):
    return documents(output("kubectl", "kustomize", folder))


@functools.cache
def overlay(name, components=()):
    """An overlay as it stands, or with components, as the README says to add them."""
    folder = DEPLOY / "overlays" / name
    if not components:
        return kustomization(folder)
    with tempfile.TemporaryDirectory() as own:
        own = pathlib.Path(own).resolve()
        relative = lambda path: os.path.relpath(path, own)
        content = {
            "resources": [relative(folder)],
            "components": [relative(DEPLOY / "components" / component) for component in components],
        }
        (own / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return documents(output("kubectl", "kustomize", own))


@functools.cache
def second_installation():
    """Beside a first one in the same cluster, as the README says to make it."""
    readme = (DEPLOY / "README.md").read_text()
    start = readme.index("- **A second installation in the same cluster**")
    snippet = readme[start:].split("```yaml", 1)[1].split("```", 1)[0]
    with tempfile.TemporaryDirectory() as own:
        own = pathlib.Path(own).resolve()
        relative = lambda path: os.path.relpath(path, own)
        content = yaml.safe_load(snippet) | {
            "namespace": "onboarding",
            "resources": [relative(DEPLOY / "overlays" / "dev")],
            "components": [relative(DEPLOY / "components" / "from-cluster")],
        }
        (own / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return documents(output("kubectl", "kustomize", own))


def variants():
    """Every overlay, bare and with all components, by what to call it."""
    bare = {f"overlay {name}": overlay(name) for name in OVERLAYS}
    return bare | {f"overlay {name} with components": overlay(name, tuple(COMPONENTS)) for name in OVERLAYS}


@functools.cache
def definitions():
    """The custom resource definitions by kind."""
    return {definition["spec"]["names"]["kind"]: definition for definition in kustomization(DEPLOY / "crds")}


def event_files():
    """What `kubectl apply -R -f events/` finds."""
    return sorted(path for path in EVENTS.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))


@functools.cache
def rendered_jobs():
    """The Job of every sample event, by the event's name."""
    jobs = {}
    for sample in sorted(EVENTS.glob("*/sample.cloudevent")):
        explained = json.loads(output(PROGRAM, "explain", sample, "--output", "json"))
        jobs[sample.parent.name] = [one for one in inside(explained) if one.get("kind") == "Job"]
    return jobs


@functools.cache
def help_of(command):
    """The words in a command's help: its flags and variables."""
    return set(re.findall(r"--[a-z][a-z-]*|[A-Z][A-Z0-9_]+", output(PROGRAM, command, "--help")))


def inside(value):
    """Every object in a JSON value, at any depth."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from inside(one)


def one(objects, kind, name):
    found = [it for it in objects if it["kind"] == kind and it["metadata"]["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of {kind} {name}")
    return found[0]
