"""Answers as a server gives them, as plain JSON, so that they do not change when the contract's classes do."""

from __future__ import annotations

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
        "progress": {"step": 10, "total": 100, "loss": [0.5, 0.25], "steps_per_second": 50.0, "eta_seconds": 1.8},
        "queue": None,
        "error": None,
        "config": CONFIG,
        "model": None,
        "parameters": 19,
        "baseline_loss": 10.5,
        "best": None,
        "last_checkpoint": None,
        "diverged": [],
        "environment": None,
        "stopped": None,
        "labels": {},
        "priority": 0,
        "created_at": TIME,
        "started_at": TIME,
        "ended_at": None,
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
