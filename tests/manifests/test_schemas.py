"""Every manifest against the schemas of the three newest minor versions of Kubernetes."""

import copy
import unittest

import built
import schema


class Schemas(unittest.TestCase):
    def refused(self, documents, version):
        return [problem for document in documents for problem in schema.problems(document, version)]

    def accept(self, name, documents):
        self.assertTrue(documents, name)
        for version in schema.NEWEST:
            with self.subTest(name, kubernetes=version):
                self.assertEqual([], self.refused(documents, version))

    def test_three_versions_are_checked(self):
        self.assertEqual(3, len(schema.NEWEST))

    def test_every_overlay_is_valid_with_and_without_components(self):
        for name, documents in built.variants().items():
            self.accept(name, documents)

    def test_the_definitions_are_valid_and_structural(self):
        self.accept("crds", list(built.definitions().values()))
        for kind, definition in built.definitions().items():
            for version in definition["spec"]["versions"]:
                untyped = list(without_type(version["schema"]["openAPIV3Schema"], kind))
                self.assertEqual([], untyped)

    def test_the_21_manifests_of_the_events_are_valid(self):
        files = built.event_files()
        self.assertEqual(21, len(files))
        for path in files:
            self.accept(str(path), built.documents(path.read_text()))

    def test_the_jobs_of_the_samples_are_valid(self):
        self.assertEqual(7, len(built.rendered_jobs()))
        for event, jobs in built.rendered_jobs().items():
            self.assertEqual(1, len(jobs), event)
            self.accept(event, jobs)

    def test_what_is_wrong_is_refused(self):
        version = schema.NEWEST[-1]
        deployment = built.one(built.overlay("dev"), "Deployment", "knapscen-dispatcher")
        trigger = built.documents((built.EVENTS / "user-saved" / "eventtrigger.yaml").read_text())[0]
        source = built.documents((built.EVENTS / "user-saved" / "eventsource.yaml").read_text())[0]
        wrong = [
            (deployment, ["spec", "template", "spec", "containers", 0, "imagee"], "x"),
            (deployment, ["spec", "replicas"], "three"),
            (trigger, ["spec", "oneForEvnt"], True),
            (trigger, ["spec", "policyRefs", 0, "deploymentType"], "Nowhere"),
            (trigger, ["spec", "syncMode"], "Sometimes"),
            (source, ["spec", "messagingMatchCriteria", 0, "subjects"], "x"),
            (source, ["apiVersion"], "lib.projectsveltos.io/v1"),
        ]
        for document, path, value in wrong:
            broken = copy.deepcopy(document)
            place = broken
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = value
            with self.subTest(path):
                self.assertEqual([], schema.problems(document, version))
                self.assertEqual(1, len(schema.problems(broken, version)))


def without_type(part, path):
    """Places that the API server would not take for structural: no type, and no mark that says why."""
    free = part.get("x-kubernetes-int-or-string") or part.get("x-kubernetes-preserve-unknown-fields")
    if "type" not in part and not free:
        yield path
    for name, below in part.get("properties", {}).items():
        yield from without_type(below, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            yield from without_type(part[key], f"{path}.{key}")


if __name__ == "__main__":
    unittest.main()
