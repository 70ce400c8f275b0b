"""What a person sees at a prompt: a line as text, a table or a picture in a notebook."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, problem
from tests.unit.sdk.service import TASK, Trained
from unroll import Client
from unroll.contract import Check, Checkpoint, DryRun, EvaluationResult, Job, Me, Metrics, Model, Task
from unroll.contract.shown import duration
from unroll.curves import Curves
from unroll.plots import curves_svg
from unroll.predictions import Prediction

SVG = "{http://www.w3.org/2000/svg}"
CHECK = {
    "passed": False,
    "parameters": 19,
    "loss": [1.0],
    "engines": [
        {
            "engine": "workspace",
            "loss": [1.0],
            "passed": False,
            "tensors": [
                {
                    "name": "layers.0.W_hh",
                    "shape": [3, 3],
                    "norm": 1.0,
                    "autograd": 2e-3,
                    "float32": 1e-7,
                    "complex_step": None,
                    "finite_differences": 1e-8,
                    "entries": 9,
                    "near_kinks": 0,
                    "passed": False,
                }
            ],
        }
    ],
    "tolerances": {},
    "lag_profile": [[1.0]],
    "biases": [],
    "formulas": [],
    "notes": [],
    "config": {"model": examples.NETWORK},
}
BEST = {"checkpoint": "ckpt_1", "replica": 1, "loss": 0.01}
MODEL = {"name": "sum", "config": examples.NETWORK, "parameters": 19, "created_at": examples.TIME}
SERVED = {"checkpoint": "ckpt_1", "replica": 1, "pinned": True}
LONG = examples.trained(estimated_seconds=32400.0)
SEEN: list[tuple[Any, dict[str, Any], str]] = [
    (Job, examples.job(), "<train job job_1: running, step 10 of 100>"),
    (
        Job,
        examples.job(name="my run", summary=LONG),
        "<train job job_1 'my run': running, step 10 of 100, about 9 h on one CPU worker>",
    ),
    (Job, examples.job(status="queued", queue={"position": 3}), "<train job job_1: queued, number 3 in the queue>"),
    (
        Job,
        examples.job(status="queued", queue={"position": 1001, "exact": False}),
        "<train job job_1: queued, number 1001 or later in the queue>",
    ),
    (
        Job,
        examples.job(status="failed", error={"code": "crashed", "message": "it crashed"}),
        "<train job job_1: failed, step 10 of 100, crashed>",
    ),
    (
        Job,
        examples.job(status="succeeded", summary=examples.trained(best=BEST, estimated_seconds=32400.0)),
        "<train job job_1: succeeded, step 10 of 100, best loss 0.01, baseline 10.5>",
    ),
    (
        Checkpoint,
        examples.checkpoint(),
        "<checkpoint ckpt_1 of job_1: step 100, 2 networks, best held-out loss 0.25 (replica 1)>",
    ),
    (
        Checkpoint,
        examples.checkpoint(losses=None, best_replica=None),
        "<checkpoint ckpt_1 of job_1: step 100, 2 networks>",
    ),
    (
        Model,
        MODEL | {"serving": None},
        "<model 'sum': vanilla, 3 units, many_to_many, 19 parameters, serves nothing yet>",
    ),
    (
        Model,
        MODEL | {"serving": SERVED},
        "<model 'sum': vanilla, 3 units, many_to_many, 19 parameters, serves replica 1 of ckpt_1, pinned>",
    ),
    (Task, TASK, "<task integrate_noise: sum white noise; 1 inputs, 1 outputs, baseline loss 10.5>"),
    (Me, {"key": examples.key(), "active_jobs": 1}, "<key 'laptop' of default: read; 1 active job>"),
    (
        DryRun,
        {
            "config": examples.CONFIG,
            "parameters": 19,
            "total": 100,
            "memory_bytes": 3 << 20,
            "seconds": 65,
            "baseline_loss": 1,
        },
        "<dry run: 100 steps, about 65 s on one CPU worker, 3.0 MiB; nothing was stored>",
    ),
    (
        Check,
        CHECK,
        "<gradient check FAILED: 19 parameters, at most 2.0e-03 from autograd, 1e-09 allowed (workspace)>",
    ),
    (
        EvaluationResult,
        examples.RESULT,
        (
            "<evaluation: loss 0.75 ± 0.5, baseline 10, skill 0.925; 2 replicas, 512 sequences; "
            "length 20: loss 0.75; length 100: loss not finite>"
        ),
    ),
]


@pytest.mark.parametrize(("kind", "content", "line"), SEEN)
def test_an_answer_is_one_line_at_a_prompt_and_a_table_in_a_notebook(
    kind: Any, content: dict[str, Any], line: str
) -> None:
    answer = kind.model_validate(content)
    assert repr(answer) == str(answer) == line
    table = ET.fromstring(answer._repr_html_())
    assert table.tag == "table"
    assert table.find("caption").text == line[1:-1]
    assert len(table.findall("tbody/tr")) >= 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(8, "8 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (32400, "9 h"), (259200, "3 days")],
)
def test_a_long_time_is_told_in_the_unit_that_people_use(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_names_of_users_are_no_html() -> None:
    said = Job.model_validate(examples.job(name="<script>", labels={"<b>": "&"}))._repr_html_()
    assert "<script>" not in said
    assert "<b>" not in said
    assert ET.fromstring(said).find("caption").text.startswith("train job job_1 '<script>'")


def test_the_distances_of_a_check_are_a_table_with_what_is_allowed() -> None:
    table = ET.fromstring(Check.model_validate(CHECK)._repr_html_())
    rows = [[cell.text for cell in row] for row in table.findall("tbody/tr")]
    assert rows == [
        ["workspace", "layers.0.W_hh", "2.0e-03", "1.0e-07", "-", "1.0e-08", "NO"],
        [None, "allowed", "1.0e-09", "2.0e-05", "1.0e-09", "1.0e-06", None],
    ]


def test_an_evaluation_is_a_table_by_length() -> None:
    table = ET.fromstring(EvaluationResult.model_validate(examples.RESULT)._repr_html_())
    assert [cell.text for cell in table.find("thead/tr")][:4] == ["length", "baseline", "loss of 0", "loss of 1"]
    assert [row[0].text for row in table.findall("tbody/tr")] == ["as asked for", "20", "100"]


def test_a_handle_and_the_best_network_are_shown_too(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    handle = client.job("job_1")
    assert repr(handle) == repr(handle.job)
    assert handle._repr_html_() == handle.job._repr_html_()
    best = handle.best()
    assert repr(best) == "<replica 0 of checkpoint ckpt_1: held-out loss 0.01>"
    assert "ckpt_1" in best._repr_html_()


def test_a_list_shows_its_first_items_as_a_table(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    listing = client.jobs.list()
    assert server.seen == []
    header, *lines = repr(listing).splitlines()
    assert header.split() == ["job", "kind", "name", "status", "step", "headline", "created"]
    assert [line.split()[0] for line in lines] == ["job_1", "job_2", "job_3"]
    assert server.seen[0].query == {"limit": ["10"]}
    table = ET.fromstring(listing._repr_html_())
    assert [row[0].text for row in table.findall("tbody/tr")] == ["job_1", "job_2", "job_3"]


def test_a_long_list_says_that_there_is_more(server: ScriptedServer, client: Client) -> None:
    many = [examples.job(id=f"job_{n}") for n in range(30)]
    server.script = lambda _: Answer(body={"data": many, "next": None})
    *rows, last = repr(client.jobs.list(limit=50)).splitlines()
    assert (len(rows), last) == (1 + 10, "... and more: iterate for all")
    assert len(server.seen) == 1


def test_an_empty_list_and_one_that_cannot_be_asked_for_say_so(server: ScriptedServer, client: Client) -> None:
    server.script = lambda _: Answer(body={"data": [], "next": None})
    assert repr(client.jobs.list()) == "(nothing in /v1/jobs yet)"
    assert repr(client.jobs.list(kind="train")) == "(nothing fits)"
    server.script = lambda _: Answer(body={"data": [], "next": "cursor"})
    assert repr(client.jobs.list(kind="train", name="a")) == "(nothing fits among the newest: iterate for all)"
    server.script = lambda _: problem(401, "unauthorized")
    assert repr(client.models.list()).startswith("<a list of /v1/models, which cannot be shown: detail of unauth")


def test_lists_of_small_things_are_tables_too(server: ScriptedServer, client: Client) -> None:
    server.script = lambda _: Answer(body={"data": [examples.key()], "next": None})
    assert repr(client.keys.list()).splitlines()[0].split()[:2] == ["id", "name"]


def test_a_cell_that_only_a_newer_server_knows_does_not_spoil_the_line(server: ScriptedServer, client: Client) -> None:
    network = {**examples.NETWORK, "cell": {"type": "new"}}
    server.script = lambda _: Answer(body=examples.checkpoint(network=network))
    checkpoint = client.checkpoints.get("ckpt_1")
    assert repr(checkpoint).startswith("<checkpoint ckpt_1")
    assert checkpoint._repr_html_()


def test_a_prediction_shows_shapes_and_no_numbers() -> None:
    many = Prediction(np.zeros((3, 20, 1)), None, None, "sum", "ckpt_1", 4)
    assert repr(many) == "<prediction of replica 4 of sum: outputs [3, 20, 1]>"
    ragged = Prediction([np.zeros((2, 1)), np.zeros((3, 1))], [np.zeros((2, 5))], [[]], None, "ckpt_1", "all")
    assert repr(ragged) == (
        "<prediction of all replicas of ckpt_1: outputs of 2 sequences [2, 1], ..., hidden of 1 sequence [2, 5], "
        "state of 1 sequences>"
    )


def curves(values: NDArray[np.float64], name: str = "loss") -> Curves:
    steps = list(range(1, len(values) + 1))
    series = [
        {"name": name, "replica": r, "steps": steps, "values": [v if np.isfinite(v) else None for v in values[:, r]]}
        for r in range(values.shape[1])
    ]
    return Curves(Metrics(job="job_1", last_step=len(values), downsampled=False, series=series))


def test_a_name_that_is_no_metric_lists_those_that_are() -> None:
    loss = curves(np.ones((3, 2)))
    with pytest.raises(KeyError) as caught:
        loss["eval_loss"]
    assert str(caught.value) == (
        "'eval_loss' is not among the metrics of job_1; there are loss. Did you mean loss? Held-out losses are in "
        "the job's journal: client.job('job_1').held_out_losses()"
    )
    with pytest.raises(KeyError, match="Did you mean gradient_norm"):
        curves(np.ones((3, 1)), "gradient_norm")["grad_norm"]
    empty = Curves(Metrics(job="job_1", last_step=0, downsampled=False, series=[]))
    with pytest.raises(KeyError, match="this answer has none"):
        empty["loss"]
    assert loss.get("eval_loss") is None
    assert "eval_loss" not in loss
    assert repr(loss) == "<curves of job_1: loss; 3 points up to step 3, 2 replicas>"


def test_held_out_losses_are_read_from_the_journal(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    job = client.job("job_1")
    journal = [
        examples.event(1, "evaluation") | {"data": {"step": 10, "loss": [0.5, None], "best": True}},
        examples.event(2),
    ]
    server.script = lambda seen: Answer(body={"data": journal[int(seen.query["after"][0]) :]})
    found = job.held_out_losses()
    assert list(found) == [10]
    np.testing.assert_array_equal(found[10], [0.5, np.nan])


def pictures(html: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html)]


def words(picture: ET.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def lines(picture: ET.Element) -> list[ET.Element]:
    """The lines of replicas: of a long one, the pale line through all peaks."""
    return [line for line in picture.iter(f"{SVG}g") if len(line) > 1]


def test_curves_are_a_picture_a_metric_and_a_line_a_replica() -> None:
    (picture,) = pictures(curves(np.linspace(1, 2, 20).reshape(10, 2))._repr_html_())
    assert words(picture)[-2:] == ["step", "loss"]
    drawn = lines(picture)
    assert [path.find(f"{SVG}title").text for path in drawn] == ["replica 0", "replica 1"]
    assert len({path.get("stroke") for path in drawn}) == 2
    places = [tuple(map(float, point.split())) for point in drawn[0][1].get("d", "")[1:].split("L")]
    assert len(places) == 10
    heights = [y for _, y in places]
    assert heights == sorted(heights, reverse=True), "larger values stand higher"


def test_a_range_of_decades_is_drawn_on_a_logarithmic_scale() -> None:
    falling = 10.0 ** -np.arange(5.0)[:, None]
    (picture,) = pictures(curves(falling)._repr_html_())
    assert "loss (logarithmic scale)" in words(picture)
    assert {"1", "0.1", "0.01", "0.001"} <= set(words(picture))
    heights = [float(point.split()[1]) for point in lines(picture)[0][1].get("d", "")[1:].split("L")]
    np.testing.assert_allclose(np.diff(heights), np.diff(heights)[0], atol=0.11)
    for other in (falling - 1e-4, falling[:2], -falling):
        assert not any("logarithmic" in word for word in words(pictures(curves(other)._repr_html_())[0]))


def test_many_replicas_are_their_median_and_range() -> None:
    html = curves(np.random.default_rng(0).random((50, 40)))._repr_html_()
    assert "median of 40 replicas" in html
    assert len(list(pictures(html)[0].iter(f"{SVG}path"))) < 20


def test_a_long_curve_keeps_its_peaks_in_a_picture_of_limited_size() -> None:
    values = np.ones((100_000, 2))
    values[54_321, 1] = 9.0
    html = curves_svg("job_1", np.arange(100_000), {"loss": values})
    assert len(html) < 40_000
    (_, second) = lines(pictures(html)[0])
    heights = [float(point.split()[1]) for point in second[1].get("d", "")[1:].split("L")]
    assert min(heights) == pytest.approx(30.0), "the peak reaches the upper end"


@given(st.lists(st.floats(), min_size=1, max_size=30), st.integers(1, 3))
def test_any_values_give_a_picture_inside_its_frame(values: list[float], replicas: int) -> None:
    (picture,) = pictures(curves_svg("j", np.arange(len(values)), {"x": np.tile(np.array(values)[:, None], replicas)}))
    for path in lines(picture):
        places = [float(n) for n in re.findall(r"-?\d+\.?\d*", path[1].get("d", "").partition("h")[0])]
        assert all(0 <= place <= 560 for place in places)
