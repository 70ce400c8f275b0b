"""Answers as a server gives them, as plain JSON, so that they do not change when the contract's classes do."""

from __future__ import annotations

import hashlib
from typing import Any

NETWORK = {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1}
DATA = {"type": "task", "name": "integrate_noise", "parameters": {"length": 20}}
CONFIG = {"kind": "train", "model": NETWORK, "data": DATA, "training": {"steps": 100}}
TIME = "2026-01-01T00:00:00Z"


def job(**fields: Any) -> dict[str, Any]:
    return {
        "id": "job_1",
        "kind": "train",
        "name": None,
        "status": "running",
        "requested": None,
        "attempt": 1,
        "crashes": 0,
        "progress": {"step": 10, "total": 100, "steps_per_second": 50.0, "eta_seconds": 1.8},
        "queue": None,
        "error": None,
        "config": CONFIG,
        "summary": trained(),
        "parent": None,
        "environment": None,
        "labels": {},
        "priority": 0,
        "created_at": TIME,
        "started_at": TIME,
        "ended_at": None,
    } | fields


def trained(**fields: Any) -> dict[str, Any]:
    """What a train job has to say."""
    return {
        "kind": "train",
        "parameters": 19,
        "baseline_loss": 10.5,
        "model": None,
        "loss": [0.5, 0.25],
        "best": None,
        "last_checkpoint": None,
        "diverged": [],
        "stopped": None,
        "stopped_replicas": [],
    } | fields


RESULT = {
    "sequences": 512,
    "replicas": [0, 1],
    "losses": [0.5, 1.0],
    "baseline": 10.0,
    "skill": [0.95, 0.9],
    "mean": 0.75,
    "sd": 0.35,
    "ci95": [0.25, 1.25],
    "diverged": [],
    "by_length": [
        {"length": 20, "losses": [0.5, 1.0], "baseline": 10.0, "skill": [0.95, 0.9]},
        {"length": 100, "losses": [20.0, None], "baseline": 50.0, "skill": [0.6, None]},
    ],
}


def evaluated(**fields: Any) -> dict[str, Any]:
    """An evaluate job."""
    summary = {"kind": "evaluate", "parameters": 19, "baseline_loss": 10.0, "loss": 0.75, "sd": 0.35}
    return job(
        id="job_2",
        kind="evaluate",
        config={"kind": "evaluate", "checkpoint": "ckpt_1"},
        progress={"step": 512, "total": 512},
        summary={**summary, "ci95": [0.25, 1.25], "skill": 0.925},
        parent="job_1",
        **{"status": "succeeded", **fields},
    )


def exported(**fields: Any) -> dict[str, Any]:
    """An export job."""
    parity = {"relative": 2.5e-8, "tolerance": 1e-6, "passed": True, "sequences": 8, "by": {"onnxruntime 1": 2.5e-8}}
    parity |= {"steps": 20, "reference": "float32", "rounding": 1e-8, "arithmetic": "float32"}
    return job(
        id="job_3",
        kind="export",
        config={"kind": "export", "checkpoint": "ckpt_1", "format": "onnx"},
        progress={"step": 1, "total": 1},
        summary={"kind": "export", "parameters": 19, "artifact": "model.onnx", "size": 1234, "parity": parity},
        parent="job_1",
        **{"status": "succeeded", **fields},
    )


def artifact(name: str, content: bytes, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "media_type": "application/octet-stream",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "created_at": TIME,
    } | fields


def checkpoint(**fields: Any) -> dict[str, Any]:
    return {
        "id": "ckpt_1",
        "job": "job_1",
        "step": 100,
        "sha256": "0" * 64,
        "size": 10,
        "reason": "last",
        "losses": [0.5, 0.25],
        "best_replica": 1,
        "replicas": 2,
        "resumable": True,
        "network": NETWORK,
        "dtype": "float32",
        "data": DATA,
        "loss": {"type": "mse"},
        "created_at": TIME,
    } | fields


def event(seq: int, kind: str = "progress") -> dict[str, Any]:
    return {"seq": seq, "type": kind, "time": TIME, "data": {}}


def key(**fields: Any) -> dict[str, Any]:
    return {
        "id": "key_1",
        "name": "laptop",
        "tenant": "default",
        "scopes": ["read"],
        "prefix": "unr_abc",
        "expires_at": None,
        "max_active_jobs": None,
        "created_at": TIME,
        "last_used_at": None,
    } | fields
