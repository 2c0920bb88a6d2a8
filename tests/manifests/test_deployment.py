"""What no schema says: that the parts of the deployment fit each other, the program, and the folder of events."""

import pathlib
import tempfile
import unittest

import built

NAME = "knapscen-dispatcher"


def pod_specs(documents):
    """Each workload's name with its Pod template."""
    for document in documents:
        template = document.get("spec", {}).get("template")
        if template:
            yield document["metadata"]["name"], template


def variables(documents):
    """The dispatcher's variables by name."""
    container = built.one(documents, "Deployment", NAME)["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable for variable in container["env"]}


def selects(selector, labels):
    """Whether a label selector means an object with these labels."""
    wanted = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    tests = {"Exists": lambda key: key in labels, "DoesNotExist": lambda key: key not in labels}
    return all(tests[rule["operator"]](rule["key"]) for rule in selector.get("matchExpressions", []))


class Deployment(unittest.TestCase):
    def test_flags_and_variables_are_those_of_the_program(self):
        for documents in built.variants().values():
            checked = 0
            for _, template in pod_specs(documents):
                for container in template["spec"]["containers"]:
                    command, *flags = container["args"]
                    known = built.help_of(command)
                    # All commands read the database's variables alike.
                    known = known | {name for name in built.help_of("migrate") if name.startswith("DB_")}
                    used = {variable["name"] for variable in container["env"]}
                    used |= {flag.split("=")[0] for flag in flags if flag.startswith("--")}
                    self.assertLessEqual(used, known)
                    checked += len(used)
            self.assertGreater(checked, 15)

    def test_the_mounted_manifests_are_the_folder_of_events(self):
        for documents in built.variants().values():
            mounted = built.one(documents, "ConfigMap", "knapscen-events")["data"]
            files = {
                f"{path.parent.name}.{path.name}": path.read_text() for path in built.event_files()
            }
            self.assertEqual(files, mounted)

    def test_the_mounted_manifests_are_a_valid_set(self):
        mounted = built.one(built.overlay("dev"), "ConfigMap", "knapscen-events")["data"]
        with tempfile.TemporaryDirectory() as folder:
            # As the kubelet lays it out: a folder with a time in its name, a link to it, and a link for each file.
            folder = pathlib.Path(folder)
            version = folder / "..2026_01_01_00_00_00.1"
            version.mkdir()
            (folder / "..data").symlink_to(version.name)
            for name, text in mounted.items():
                (version / name).write_text(text)
                (folder / name).symlink_to(f"..data/{name}")
            shown = built.output(built.PROGRAM, "validate", folder)
        self.assertIn("7 EventTriggers", shown)

    def test_everything_is_in_the_namespace_of_the_jobs(self):
        jobs = {job["metadata"]["namespace"] for found in built.rendered_jobs().values() for job in found}
        for documents in built.variants().values():
            namespaced = [document for document in documents if not document["kind"].startswith("ClusterRole")]
            self.assertEqual(jobs, {document["metadata"]["namespace"] for document in namespaced})
            for document in documents:
                # EventSources and EventTriggers are in no namespace, and nothing else is allowed beyond it.
                for rule in document.get("rules", []) if document["kind"] == "ClusterRole" else []:
                    self.assertEqual(["lib.projectsveltos.io"], rule["apiGroups"])
                if document["kind"] == "ClusterRoleBinding":
                    self.assertEqual(jobs, {subject["namespace"] for subject in document["subjects"]})

    def test_a_second_installation_takes_no_rights_of_the_first(self):
        def own(documents):
            """What an installation applies for itself alone: the manifests and the definition of their rights are the same for all."""
            shared = ("EventSource", "EventTrigger", "ClusterRole")
            return {
                (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
                for document in documents if document["kind"] not in shared
            }

        first, second = built.overlay("dev", ("from-cluster",)), built.second_installation()
        self.assertEqual(set(), own(first) & own(second))
        bindings = [document for document in second if document["kind"] == "ClusterRoleBinding"]
        self.assertEqual(["onboarding"], [subject["namespace"] for subject in bindings[0]["subjects"]])

    def test_a_criterion_without_a_known_field_is_refused(self):
        spec = built.definitions()["EventSource"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        criterion = spec["properties"]["messagingMatchCriteria"]["items"]
        # Unknown fields are removed before this is checked, so it holds for a misspelt field as well.
        self.assertEqual(1, criterion["minProperties"])
        self.assertNotIn("x-kubernetes-preserve-unknown-fields", criterion)

    def test_selectors_and_ports_meet_the_pods(self):
        for documents in built.variants().values():
            template = built.one(documents, "Deployment", NAME)["spec"]["template"]
            labels = template["metadata"]["labels"]
            ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
            service = built.one(documents, "Service", NAME)
            self.assertTrue(selects(service["spec"]["selector"], labels))
            self.assertLessEqual({port["targetPort"] for port in service["spec"]["ports"]}, ports)
            self.assertTrue(selects(built.one(documents, "Deployment", NAME)["spec"]["selector"], labels))
            policy = built.one(documents, "NetworkPolicy", NAME)["spec"]
            self.assertTrue(selects(policy["podSelector"], labels))
            for rule in policy["ingress"]:
                self.assertLessEqual({port["port"] for port in rule["ports"]}, ports)
            for document in documents:
                if document["kind"] == "PodDisruptionBudget":
                    self.assertTrue(selects(document["spec"]["selector"], labels))
                if document["kind"] == "ServiceMonitor":
                    self.assertTrue(selects(document["spec"]["selector"], service["metadata"]["labels"]))
                    named = {port["name"] for port in service["spec"]["ports"]}
                    self.assertLessEqual({one["port"] for one in document["spec"]["endpoints"]}, named)

    def test_the_policies_know_a_job_from_a_dispatcher(self):
        documents = built.overlay("dev")
        jobs = built.one(documents, "NetworkPolicy", "knapscen-jobs")["spec"]["podSelector"]
        allowed = built.one(documents, "NetworkPolicy", NAME)["spec"]["ingress"][0]["from"][0]["podSelector"]
        for found in built.rendered_jobs().values():
            # Labels that a template sets itself are no help: another one may not have them.
            own = found[0]["spec"]["template"]["metadata"]["labels"]
            labels = {key: value for key, value in own.items() if key.startswith("dispatcher.knapscen.disco/")}
            self.assertTrue(selects(jobs, labels))
            self.assertFalse(selects(allowed, labels))
        for _, template in pod_specs(documents):
            self.assertFalse(selects(jobs, template["metadata"]["labels"]))

    def test_probes_ask_what_the_program_serves(self):
        container = built.one(built.overlay("dev"), "Deployment", NAME)["spec"]["template"]["spec"]["containers"][0]
        routes = (built.ROOT / "dispatcher" / "src" / "server.rs").read_text()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertIn(f'.route("{container[probe]["httpGet"]["path"]}"', routes)

    def test_the_role_reads_no_secret_and_has_no_wildcard(self):
        for documents in built.variants().values():
            account = built.one(documents, "ServiceAccount", NAME)["metadata"]["name"]
            binding = built.one(documents, "RoleBinding", NAME)
            self.assertEqual(account, binding["subjects"][0]["name"])
            pod = built.one(documents, "Deployment", NAME)["spec"]["template"]["spec"]
            self.assertEqual(account, pod["serviceAccountName"])
            granted = {
                (group, resource, verb)
                for document in documents if document["kind"] in ("Role", "ClusterRole")
                for rule in document["rules"]
                for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
            }
            self.assertIn(("batch", "jobs", "create"), granted)
            for group, resource, verb in granted:
                self.assertNotIn("*", (group, resource, verb))
                self.assertNotEqual("secrets", resource)
                if resource != "jobs":
                    self.assertIn(verb, ("get", "list", "watch", "patch") if "/status" in resource else ("get", "list", "watch"))

    def test_every_pod_is_restricted(self):
        # What the Pod Security Standard "restricted" asks for, and a read-only root.
        for documents in built.variants().values():
            for name, template in pod_specs(documents):
                pod = template["spec"]
                self.assertTrue(pod["securityContext"]["runAsNonRoot"], name)
                self.assertEqual("RuntimeDefault", pod["securityContext"]["seccompProfile"]["type"], name)
                self.assertNotIn("hostNetwork", pod)
                for container in pod["containers"]:
                    context = container["securityContext"]
                    self.assertFalse(context["allowPrivilegeEscalation"], name)
                    self.assertTrue(context["readOnlyRootFilesystem"], name)
                    self.assertEqual(["ALL"], context["capabilities"]["drop"], name)
                    self.assertIn("memory", container["resources"]["limits"], name)

    def test_secrets_are_only_those_that_the_guide_names(self):
        guide = (built.ROOT / "SECRETS-GUIDE.md").read_text()
        for documents in built.variants().values():
            for _, template in pod_specs(documents):
                for variable in template["spec"]["containers"][0]["env"]:
                    reference = variable.get("valueFrom", {}).get("secretKeyRef")
                    if reference:
                        self.assertIn(reference["name"], guide)
                        self.assertRegex(guide, rf"`{reference['key']}`")

    def test_images_are_those_that_are_published(self):
        published = (built.ROOT / "docker" / "bake.hcl").read_text()
        for documents in built.variants().values():
            for _, template in pod_specs(documents):
                for container in template["spec"]["containers"]:
                    owner, program = container["image"].removesuffix(":latest").split("/")
                    self.assertEqual("knapscen", owner)
                    self.assertIn(f'"{program}"', published)

    def test_the_images_of_the_jobs_are_allowed_and_no_others(self):
        prefixes = {variables(documents)["IMAGE_PREFIXES"]["value"] for documents in built.variants().values()}
        self.assertEqual(1, len(prefixes))
        allowed = prefixes.pop().split(",")
        samples = sorted(built.EVENTS.glob("*/sample.cloudevent"))

        def are_planned(prefixes):
            """By the program itself, which says no by its exit code."""
            options = [f"--image-prefix={prefix}" for prefix in prefixes]
            for sample in samples:
                built.output(built.PROGRAM, "explain", sample, *options)

        are_planned(allowed)
        for prefix in allowed:
            with self.assertRaisesRegex(AssertionError, "ended with", msg=prefix):
                are_planned([other for other in allowed if other != prefix] or ["nothing/"])

    def test_with_the_secret_of_sveltos_no_other_is_needed_for_nats(self):
        server = variables(built.overlay("dev"))["NATS_SERVER"]["valueFrom"]["secretKeyRef"]
        self.assertNotIn("optional", server)
        documents = built.overlay("dev", ("sveltos-nats",))
        found = variables(documents)
        self.assertTrue(found["NATS_SERVER"]["valueFrom"]["secretKeyRef"]["optional"])
        pod = built.one(documents, "Deployment", NAME)["spec"]["template"]["spec"]
        mounted = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
        secrets = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
        self.assertEqual("sveltos-nats", secrets[mounted[found["SVELTOS_NATS"]["value"]]])

    def test_get_shows_name_and_age_alone(self):
        for definition in built.definitions().values():
            for version in definition["spec"]["versions"]:
                shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
                self.assertEqual(["Age"], shown)


if __name__ == "__main__":
    unittest.main()
