"""What the READMEs tell people to type, typed: against a service whose data lies where a user's does, at home."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.servers.deployment import ROOT
from tests.servers.up import Up, embedded, up

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Home:
    """A user's home folder, and the service that runs there."""

    folder: Path
    service: Up

    def run(self, *command: str) -> str:
        """A command as this user runs it, nothing configured; its standard output."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "XDG_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
        env |= {"HOME": str(self.folder), "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk'}"}
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    data = folder / ".local" / "share" / "unroll"
    data.parent.mkdir(parents=True)
    with up(data, embedded(data)) as service:
        yield Home(folder, service)


def blocks(file: str, language: str = "") -> list[str]:
    """The code of one language; of a text that is none, "", what a shell takes."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL)
    return [code for named, code in fenced if named == language]


@pytest.mark.parametrize("file", ["README.md", "sdk/README.md"])
def test_the_python_example_trains_predicts_and_is_as_short_as_it_looks(home: Home, file: str) -> None:
    (example,) = blocks(file, "python")
    assert len(example.splitlines()) <= 15
    told = home.run(sys.executable, "-c", example)
    assert re.search(r"\((2000, 8|20, 1)\)", told)


def test_the_commands_train_list_and_predict(home: Home) -> None:
    (commands,) = (block.splitlines() for block in blocks("README.md") if block.startswith("unroll train"))
    train, jobs, predict = (shlex.split(command) for command in commands)
    home.run(*train)
    (job, *_) = json.loads(home.run(*jobs, "-o", "json"))
    assert job["status"] == "succeeded"
    (home.folder / "sequences.json").write_text("[[[0.5], [-1.0]], [[2.0]]]")
    predict[predict.index("CHECKPOINT")] = job["summary"]["last_checkpoint"]
    assert len(home.run(*predict).splitlines()) == 1 + 3


def test_the_request_of_the_curl_example_is_a_job(home: Home) -> None:
    (block,) = (block for block in blocks("README.md") if "curl" in block)
    key, request = block.split("\n", 1)
    found = re.fullmatch(r"KEY=\$\(cat ~/(\S+)\)", key)
    assert found is not None
    words = shlex.split(request)
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    headers["Authorization"] = headers["Authorization"].replace("$KEY", (home.folder / found[1]).read_text().strip())
    url = words[words.index("-s") + 1].replace("http://127.0.0.1:8000", home.service.url)
    answer = httpx2.post(url, headers=headers, content=words[words.index("-d") + 1])
    assert answer.status_code == 202
    ended = httpx2.get(
        home.service.url + answer.headers["Location"], headers=headers | {"Prefer": "wait=60"}, timeout=90
    )
    assert ended.json()["status"] == "succeeded"
