"""Scripted services: one knows a task and a job, the other a trained network and the jobs about it."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, Seen, file, problem

TASK = {
    "name": "integrate_noise",
    "group": "integration",
    "description": "sum white noise",
    "input_size": 1,
    "output_size": 1,
    "parameters": {"properties": {"length": {"type": "integer", "default": 20, "description": "time steps"}}},
    "baseline": {"predictor": "zero", "loss": 10.5, "formula": "(T + 1) / 2"},
}


class Service:
    """Knows one task and one job, which ends as told after some questions."""

    def __init__(self, *endings: dict[str, Any]) -> None:
        self.states = [examples.job(status="queued", queue={"position": 1}), examples.job()]
        self.states += [examples.job(**ending) for ending in endings]

    def __call__(self, seen: Seen) -> Answer:
        match seen.method, seen.path.split("/")[2:]:
            case "GET", ["tasks", *name]:
                return Answer(body=TASK if name else {"data": [TASK], "next": None})
            case "POST", ["jobs"] if seen.query.get("dry_run"):
                estimate = {"parameters": 131, "total": 100, "memory_bytes": 3 << 20, "seconds": 65.0}
                return Answer(body={"config": seen.json, **estimate, "baseline_loss": 10.5})
            case "POST", ["jobs"]:
                return Answer(202, self.states[0])
            case "GET", ["jobs", "job_1"]:
                state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
                return Answer(body=state, headers={"ETag": f'"{len(self.states)}"'})
        return problem(404, "not_found")


BEST = {"checkpoint": "ckpt_1", "replica": 0, "loss": 0.01}
DONE = {"status": "succeeded", "summary": examples.trained(best=BEST)}


class Trained:
    """Has a train job, its checkpoint, and jobs that evaluate and export it, which have ended as soon as submitted."""

    def __init__(self, ending: dict[str, Any] | None = None) -> None:
        ended = ending or {}
        self.jobs = {
            "job_1": examples.job(**DONE),
            "job_2": examples.evaluated(**ended),
            "job_3": examples.exported(**ended),
        }
        self.checkpoint = examples.checkpoint()
        self.files = {
            ("job_2", "result.json"): json.dumps(examples.RESULT).encode(),
            ("job_3", "model.onnx"): b"\x08\x0a onnx",
        }

    def __call__(self, seen: Seen) -> Answer:
        match seen.method, seen.path.split("/")[2:]:
            case "POST", ["jobs"]:
                made = next(job for job in self.jobs.values() if job["kind"] == seen.json["kind"])
                return Answer(202, made | {"status": "queued", "queue": {"position": 1}})
            case "GET", ["jobs"]:
                return Answer(body={"data": list(self.jobs.values()), "next": None})
            case "GET", ["jobs", job] if job in self.jobs:
                return Answer(body=self.jobs[job], headers={"ETag": '"1"'})
            case "GET", ["jobs", job, "artifacts"] if job in self.jobs:
                files = [examples.artifact(name, content) for (of, name), content in self.files.items() if of == job]
                return Answer(body={"data": files, "next": None})
            case "GET", ["jobs", job, "artifacts", name] if (job, name) in self.files:
                return file(self.files[job, name])
            case "GET", ["checkpoints", "ckpt_1"]:
                return Answer(body=self.checkpoint)
        return problem(404, "not_found")


def submitted(seen: list[Seen]) -> dict[str, Any]:
    """The configuration of the one job that was submitted."""
    (config,) = [one.json for one in seen if one.method == "POST"]
    return dict(config)
