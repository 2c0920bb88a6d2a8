"""The commands of the documents, run as they are written: with the programs built here, and on free ports."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
import urllib.request

from document import ROOT, blocks, section
from servers import SECONDS, free_port, mariadb, nats, running, until

PROGRAMS = (pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug").resolve()

# Stands for kubectl where there is no cluster: says what would be applied, made or deleted.
KUBECTL = """#!/bin/sh
case "$1 $2" in
    "create secret") exec {kubectl} "$@" --dry-run=client --output name ;;
    "apply -k") exec {kubectl} kustomize "$3" ;;
    "apply -R") find "$4" -name '*.yaml' -o -name '*.yml' -o -name '*.json' ;;
    "apply -f") ls "$3"*.yaml ;;
    *) echo "not known here: kubectl $*" >&2; exit 64 ;;
esac
"""


class Commands(unittest.TestCase):
    def setUp(self):
        self.port = free_port()
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.environment = {
            "PATH": f"{self.folder}/bin:{PROGRAMS}:{os.environ['PATH']}", "HOME": str(self.folder),
            "DISPATCHER_LISTEN": f"127.0.0.1:{self.port}", "EVENTS_URL": f"http://127.0.0.1:{self.port}/events",
            "TMPDIR": str(self.folder),
        }
        # What cargo and a reader's own build leave where the documents say.
        self.replaced = {
            "cargo run -- ": "demo ", "target/release/": "", "127.0.0.1:8080": f"127.0.0.1:{self.port}",
            "/tmp/": f"{self.folder}/",
        }

    def here(self, script):
        """What a reader types, with the programs that are built instead of those that would be built, and on free ports."""
        for written, here in self.replaced.items():
            script = script.replace(written, here)
        return script

    def run_to_end(self, script):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=2 * SECONDS,
        )
        self.assertEqual(0, done.returncode, f"{script}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def service(self, script):
        """Runs all but the last command to its end, and the last one until the test is over: then it has to end well."""
        *before, last = script.strip().split("\n")
        with (self.folder / "dispatcher.log").open("wb") as log:
            before = "; ".join(before)
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", f"{self.here(before)}\nexec {self.here(last)}"],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )
        self.addCleanup(self.stop, process)
        ready = f"http://127.0.0.1:{self.port}/readyz"
        until("the dispatcher", lambda: self.assertIsNone(process.poll(), self.log()) or self.get(ready))

    def stop(self, process):
        process.send_signal(signal.SIGINT)
        self.assertEqual(0, process.wait(SECONDS), self.log())

    def log(self):
        return (self.folder / "dispatcher.log").read_text()

    @staticmethod
    def get(address):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def bring(self, *names):
        """What the reader has, because the commands are meant for the root of the repository."""
        for name in names:
            there = ROOT / name
            (shutil.copytree if there.is_dir() else shutil.copy)(there, self.folder / name)

    def state(self, name, options=""):
        """What a customer's state is."""
        (_, _, _, _, status, _) = blocks(section((ROOT / "QUICKSTART.md").read_text(), "2. Run it on your own servers"))
        shown = self.run_to_end(f"{status.rstrip()} --output json {options}")
        _, *customers = [json.loads(line) for line in shown.strip().split("\n")]
        return {customer["name"]: customer["state"] for customer in customers}.get(name)

    def test_the_two_commands_of_the_readme(self):
        self.bring("events")
        demo, tests = blocks((ROOT / "README.md").read_text())
        self.assertEqual("cargo run -- demo\n", demo)
        self.assertIn("5 of 5 customers onboarded", self.run_to_end(demo))
        # It is what runs this test.
        self.assertEqual("tests/run\n", tests)
        self.assertTrue(os.access(ROOT / "tests" / "run", os.X_OK))

    def test_the_quickstart_leads_to_an_onboarded_customer(self):
        text = (ROOT / "QUICKSTART.md").read_text()
        (demo,) = blocks(section(text, "1. See it run"))
        self.assertEqual("cargo run -- demo\n", demo)
        build, settings, start, register, status, replay = blocks(section(text, "2. Run it on your own servers"))
        # Compiled by the test command, in another profile; which programs it makes is what matters here.
        self.assertEqual("cargo build --release --workspace --bins\n", build)
        self.bring("events", "publish-customer-registered.sh")
        vendor = free_port()
        nats_port = self.enterContext(nats(self.folder))
        database_port = self.enterContext(mariadb(self.folder))
        self.replaced |= {":3306/": f":{database_port}/", ":4222": f":{nats_port}", ":9000/": f":{vendor}/"}
        # Attempts last a quarter of an hour otherwise.
        self.environment |= {"DISPATCHER_MAX_ATTEMPTS": "2", "DISPATCHER_BACKOFF_MS": "10", "DISPATCHER_LOG": "info"}
        self.run_to_end(settings)
        self.service(start)
        self.environment["NATS_SERVER"] = f"nats://127.0.0.1:{nats_port}"
        self.assertIn("published: Disco Ltd, groovy", self.run_to_end(register))
        until("the customer", lambda: "Disco Ltd" in self.run_to_end(status))
        until("the order to be given up", lambda: self.state("Disco Ltd") == "stuck")
        address = f"127.0.0.1:{vendor}"
        partner = ["dispatcher", "partner", "--listen", address, "--folder", str(self.folder / "vendor")]
        self.enterContext(running(partner, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        until("the vendor", lambda: self.get(f"http://{address}/"))
        self.assertIn("swag-ordered", self.run_to_end(replay))
        until("the end", lambda: self.state("Disco Ltd") == "onboarded")
        self.assertTrue(list((self.folder / "knapscen-mails").glob("*.eml")))
        self.assertTrue((self.folder / "dispatcher-state").is_dir())

    def test_the_quickstart_without_servers(self):
        text = section((ROOT / "QUICKSTART.md").read_text(), "2. Run it on your own servers")
        _, settings, start, register, *_ = blocks(text)
        first, second, third = re.findall(r"^\d\. (.*)", text.split("### Without NATS and MariaDB", 1)[1], re.MULTILINE)
        self.bring("events", "publish-customer-registered.sh")
        # 1. Other settings. 2. Another bus. 3. Another way to publish.
        database = re.search(r"`(DATABASE_URL=sqlite:\S+)`", first).group(1)
        settings = re.sub(r"^NATS_SERVER=.*\n", "", re.sub(r"^DATABASE_URL=.*", database, settings, flags=re.MULTILINE), flags=re.MULTILINE)
        self.assertNotIn("nats://", settings)
        bus = re.search(r"`(--bus \S+)`", second).group(1)
        start = f"{start.rstrip()} {bus}"
        register = register.rstrip() + " " + re.search(r"`(--via \S+)`", third).group(1)
        self.environment["DISPATCHER_BACKOFF_MS"] = "10"
        self.run_to_end(settings)
        self.service(start)
        self.run_to_end(register)
        until("the order to be tried again", lambda: self.state("Disco Ltd", bus) == "trying again")

    def test_the_quickstart_looks_before_it_runs(self):
        self.bring("events")
        (block,) = blocks(section((ROOT / "QUICKSTART.md").read_text(), "3. Look before you run"))
        shown = self.run_to_end(block)
        self.assertIn("7 EventTriggers", shown)
        self.assertIn("user-saved-trigger", shown)

    def test_the_quickstart_on_a_cluster(self):
        kubectl = shutil.which("kubectl")
        self.assertTrue(kubectl, "kubectl is missing: tests/run installs it")
        stand_in = self.folder / "bin" / "kubectl"
        stand_in.parent.mkdir()
        stand_in.write_text(KUBECTL.format(kubectl=kubectl))
        stand_in.chmod(0o755)
        # The overlay refers to the folder of the manifests.
        self.bring("events")
        shutil.copytree(ROOT / "dispatcher" / "deploy", self.folder / "dispatcher" / "deploy")
        (self.folder / "knapscen-config.env").write_text("NATS_SERVER=nats://127.0.0.1:4222\n")
        sveltos, dispatcher = blocks(section((ROOT / "QUICKSTART.md").read_text(), "4. On a cluster"))
        self.assertEqual(22, len(self.run_to_end(sveltos).strip().split("\n")), "a Secret and 21 manifests")
        self.assertIn("name: knapscen-dispatcher", self.run_to_end(dispatcher))

    def test_an_event_and_a_job_are_added_without_rust(self):
        *preparation, service = blocks((ROOT / "dispatcher/docs/add-an-event.md").read_text())
        self.assertEqual(3, len(preparation), "blocks before anything runs")
        shown = "".join(self.run_to_end(block) for block in preparation)
        self.assertIn("invoice-paid-4711", shown)
        start, publish = service.split(" &\n")
        self.service(start)
        self.run_to_end(publish)
        metrics = f"http://127.0.0.1:{self.port}/metrics"
        ended = 'dispatcher_jobs_ended_total{trigger="invoice-paid-trigger",outcome="complete"} 1'
        until("the Job", lambda: ended in (self.get(metrics) or ""))

    def test_every_block_of_the_events_page_that_needs_no_cluster(self):
        self.bring("events")
        (self.folder / "my-event.json").write_text((ROOT / "events/customer-saved/sample.cloudevent").read_text())
        tried = 0
        for block in blocks((ROOT / "events" / "README.md").read_text()):
            for line in block.split("\n"):
                if re.match(r"cargo run -- (validate|explain) ", line):
                    self.run_to_end(line)
                    tried += 1
        self.assertEqual(4, tried)


if __name__ == "__main__":
    unittest.main()
