"""What the READMEs and `--help` tell people to type, typed in a shell, in order, by somebody who has just cloned.

The service is one of the test's own, with its data where a user's lies, at home. Everything else is the real thing: the
blocks of README.md run one after the other, with what they left behind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store import schema
from store.settings import Settings
from tests.servers.deployment import ROOT, Deployment, environment
from tests.servers.up import Up, embedded, up
from unroll.contract import Job

pytestmark = pytest.mark.timeout(300)

ELSEWHERE = {
    "make demo": "tests/e2e/test_demo.py runs what it runs",
    "make test": "it is what runs this",
    "make up": "the service of this test is `unroll-server up`, which is what it runs",
    "docker compose up -d": "needs Docker; tests/unit/test_compose.py reads what it starts",
}
"""Commands of README.md that are not typed here, and why. Of `make` the target is looked up."""


@dataclass
class Visitor:
    """Somebody with a clone, a home folder, a service that runs there, and one shell."""

    folder: Path
    service: Up
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def clone(self) -> Path:
        """The clone's folder: its files are links to ours, so that nothing is written into them."""
        return self.folder / "clone"

    def shell(self, script: str, **variables: str) -> str:
        """Run a script in a new shell of this user that knows no `unroll` by itself; its standard output."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "XDG_", "VIRTUAL"))}
        path = [part for part in env["PATH"].split(os.pathsep) if Path(part) != Path(sys.executable).parent]
        source = os.pathsep.join([str(ROOT), str(ROOT / "sdk")])
        env |= {"HOME": str(self.folder), "PATH": os.pathsep.join(path), "PYTHONPATH": source, "COLUMNS": "100"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.clone,
            env=env | self.variables | variables,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def typed(self, commands: str) -> str:
        """Run commands as README.md has them, in a shell where the environment was activated."""
        return self.shell(f"source .venv/bin/activate\n{self._filled(commands)}")

    def newest(self, kind: str) -> Job:
        """The newest job of this kind that has succeeded."""
        with self.service.client() as client:
            return next(iter(client.jobs.list(kind=kind, status=["succeeded"])))

    def _filled(self, commands: str) -> str:
        """Put the ids of a job and of its best checkpoint where they are asked for, and this service's address."""
        commands = commands.replace("http://127.0.0.1:8000", self.service.url)
        if not re.search(r"\b(JOB|CHECKPOINT)\b", commands):
            return commands
        job = self.newest("train")
        commands = re.sub(r"\bJOB\b", job.id, commands)
        return re.sub(r"\bCHECKPOINT\b", job.summary.best.checkpoint, commands)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    folder = tmp_path_factory.mktemp("home")
    data = folder / ".local" / "share" / "unroll"
    data.parent.mkdir(parents=True)
    clone = folder / "clone"
    clone.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {".venv", ".env", ".git"}:
            (clone / entry.name).symlink_to(entry)
    (clone / ".venv").symlink_to(sys.prefix)
    with up(data, embedded(data)) as service:
        yield Visitor(folder, service)


def blocks(file: str, language: str = "") -> list[str]:
    """The code of one language; of a text that is none, "", what a shell takes."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL)
    return [code for named, code in fenced if named == language]


def statements(block: str) -> list[str]:
    """The commands of a block. A quoted text or a backslash goes on over the end of a line."""
    found, begun = [], ""
    for line in block.splitlines(keepends=True):
        begun += line
        if begun.count("'") % 2 == 0 and not begun.endswith("\\\n"):
            found.append(begun.strip())
            begun = ""
    assert not begun
    return [one for one in found if one]


def in_production(command: str) -> bool:
    return command.startswith("unroll-server ")


def test_every_command_of_the_readme_works_in_the_order_in_which_it_stands(visitor: Visitor) -> None:
    said: dict[str, str] = {}
    targets = (ROOT / "Makefile").read_text()
    for block in blocks("README.md"):
        typed = []
        for command in statements(block):
            words = re.split(r"\s+#\s", command)[0].strip()
            if words in ELSEWHERE:
                if words.startswith("make "):
                    assert re.search(rf"^{words.removeprefix('make ')}:", targets, re.MULTILINE)
            elif not in_production(words) and not words.startswith("python -m pip"):
                typed.append(command)
        # the ids that a command asks for are known when those before it have run
        for script in typed if re.search(r"\bJOB\b", block) else ["\n".join(typed)]:
            said[script] = visitor.typed(script) if script else ""
    (tasks,) = (text for command, text in said.items() if command.startswith("source"))
    assert "integrate_noise" in tasks
    assert "my run" in said["unroll jobs"]
    assert (visitor.clone / "integrator.onnx").stat().st_size > 1000
    (curl,) = (text for command, text in said.items() if command.startswith("KEY="))
    job = json.loads(curl)
    with visitor.service.client() as client:
        assert client.job(job["id"]).wait(timeout=60).status == "succeeded"
    assert (visitor.clone / ".env").read_text() == (ROOT / ".env.example").read_text()


def test_the_sdk_is_installed_into_another_python_as_the_readme_says(visitor: Visitor) -> None:
    (command,) = (block.strip() for block in blocks("README.md") if block.startswith("python -m pip"))
    other = visitor.folder / "other"
    subprocess.run([sys.executable, "-m", "venv", str(other)], check=True)
    # Its dependencies and the build's are lent from here, so that nothing is fetched.
    lent = next(path for path in sys.path if path.endswith("site-packages"))
    quiet = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": lent}
    visitor.shell(f"source {other}/bin/activate\n{command}", **quiet)
    found = visitor.shell(
        f"cd {visitor.folder}\n{other}/bin/python -c 'import unroll; print(unroll.__file__, unroll.Client().ready())'",
        PYTHONPATH=lent,
    )
    assert found.split() == [str(ROOT / "sdk" / "unroll" / "__init__.py"), "True"]


def test_the_commands_for_production_work_on_the_databases_that_it_names(
    visitor: Visitor, deployment: Deployment
) -> None:
    settings: Settings = deployment.settings
    schema.migrate(settings)
    commands = [one for block in blocks("README.md") for one in statements(block) if in_production(one)]
    migrate, create, doctor, tenant, key = (re.split(r"\s+#\s", command)[0] for command in commands)
    chosen = {name: value for name, value in environment(settings).items() if name.startswith("UNROLL_")}

    def typed(script: str) -> str:
        return visitor.shell(f"source .venv/bin/activate\n{script}", **chosen)

    told = typed(f"{migrate}\n{create}")
    assert "unroll_" in told
    assert "database" in typed(f"{doctor} || true").lower()
    (key_id,) = set(re.findall(r"key_\w{26}", typed("unroll-server key list --tenant lab -o json")))
    assert "running_jobs" in typed(tenant)
    assert "queued_jobs" in typed(key.replace("KEY", key_id))


@pytest.mark.parametrize("file", ["README.md", "sdk/README.md"])
def test_the_python_example_trains_predicts_and_is_as_short_as_it_looks(visitor: Visitor, file: str) -> None:
    (example,) = blocks(file, "python")
    assert len(example.splitlines()) <= 15
    (visitor.clone / "example.py").write_text(example)
    told = visitor.typed("python example.py")
    assert "(20, 1)" in told if file == "sdk/README.md" else "10.5" in told


def test_the_example_of_every_commands_help_works(visitor: Visitor) -> None:
    train = next(block for block in blocks("README.md") if block.startswith("unroll train"))
    visitor.typed(statements(train)[0])
    listed = re.findall(r"^[│ ]+([a-z]+) {2,}", visitor.typed("unroll --help"), re.MULTILINE)
    assert {"train", "evaluate", "export", "predict", "jobs", "tasks"} <= set(listed)
    (visitor.clone / "sequences.json").write_text("[[[0.5], [-1.0]], [[2.0]]]")
    for command in listed:
        told = " ".join(visitor.typed(f"unroll {command} --help").split())
        example = re.search(rf"Example: (unroll {command}\b.*)", told)
        assert example is not None, f"unroll {command} --help has no example"
        typed = example[1].strip()
        if command in {"cancel", "pause", "resume", "retry"}:
            # a job that has ended takes none of these: one that runs, or that was cancelled, does
            before = {"resume": "unroll pause $id;", "retry": "unroll cancel $id;"}.get(command, "")
            long = "unroll train --task integrate_noise --hidden 10 --steps 2000000 --detach -o json"
            begin = f"id=$({long} | python -c 'import json, sys; print(json.load(sys.stdin)[\"id\"])'); {before}"
            wait = "sleep 1;" if before else ""
            visitor.typed(f"{begin} {wait} {typed.replace('JOB', '$id')} && unroll cancel $id")
        elif command == "keys":
            with visitor.service.client() as client:
                key = client.keys.create("limited")
            visitor.typed(typed.replace("KEY", key.id))
        elif command == "artifacts":
            visitor.typed("unroll evaluate JOB")
            assert "losses" in visitor.typed(typed.replace("JOB", visitor.newest("evaluate").id))
        else:
            visitor.typed(typed)
