"""Write docs/tasks.md, the catalogue of built-in tasks, from the code; with --pictures also a picture of each task.

A test compares the page with what this would write. Pictures are not compared: they change with matplotlib's version.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from api import catalogue
from unroll.contract import SampleRequest, SampleResponse, Task
from unroll.samples import Sample, sample

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = DOCS / "pictures" / "tasks"
PAGE = DOCS / "tasks.md"
SEEDS = {"reverse": 1, "temporal_order": 2}
"""Where the first trial would not show the task: it reads the same backwards, or its two symbols are the same."""

HEAD = """\
# The built-in tasks

Each is a seeded stream of sequences: a batch depends only on (seed, replica, step), so that replica r draws the same
whatever the number of replicas, and a resumed job goes on with the same bits. `unroll tasks` lists them,
`unroll tasks NAME` shows what each parameter means, and

```
unroll tasks oculomotor -p epochs=3 --plot                # one trial in the terminal
unroll tasks oculomotor --seed 7 --plot-to trial.png      # and as a picture (.png, .svg, .pdf)
unroll train --task oculomotor -p epochs=3 --hidden 50 --steps 2000
```

draw and train them; the pictures need `pip install "unroll-sdk[plot]"`. In Python,
`client.tasks.sample("oculomotor", {"epochs": 3}, sequences=100)` gives inputs, targets and weights as NumPy arrays, on
which no job trains; over HTTP it is `POST /v1/tasks/{name}/sample`. `sample.accuracy(prediction.outputs)` says how many
choices are right.

**Baseline** is the expected loss of a trivial predictor, exact for any parameters; the table has it at the defaults,
with the first architecture and loss. Skill is 1 - loss / baseline. **Chance** is the accuracy of the same predictor
where targets are classes, or yes and no. **Ideal observer** is the loss that nobody can go below, because inputs are
noisy: computed, or, where a standard error is given, simulated. What drawing a batch costs is in
[performance.md](performance.md).

This page is made by `make tasks`.
"""


def main() -> None:
    """Write the page, and with --pictures the pictures."""
    tasks = catalogue.tasks()
    PAGE.write_text(page(tasks), encoding="utf-8")
    if "--pictures" in sys.argv[1:]:
        PICTURES.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            picture(task, PICTURES / f"{task.name}.png")


def page(tasks: list[Task]) -> str:
    """Return the whole page."""
    rows = [
        "| group | task | what it asks for | architecture | loss | baseline | origin |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.group, []).append(task)
        cells = [
            task.group if len(groups[task.group]) == 1 else "",
            f"[`{task.name}`](#{task.name})",
            task.description.partition(". ")[0].rstrip("."),
            ", ".join(task.architectures),
            ", ".join(task.losses),
            f"{task.baseline.loss:.4g} ({task.baseline.predictor})",
            in_short(task.origin),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    parts = [HEAD, "\n".join(rows) + "\n"]
    for group, members in groups.items():
        parts.append(f"## {group.capitalize()}\n")
        parts += [section(task) for task in members]
    return "\n".join(parts)


def in_short(origin: str) -> str:
    """Return the authors and the year of a publication; what is none stays as it is."""
    found = re.match(r".*?\d{4}", origin)
    return found[0] if found else origin


def section(task: Task) -> str:
    """Return what a reader wants to know of one task."""
    floor, widths = task.floor, (named(task.input_size, task.input_names), named(task.output_size, task.target_names))
    lines = [
        f"### {task.name}\n",
        f"{task.description}\n",
        f"![One trial of {task.name}](pictures/tasks/{task.name}.png)\n",
    ]
    tokens = f" (tokens, {task.vocabulary_size} of them)" if task.vocabulary_size else ""
    lines.append(f"- Inputs{tokens}: {widths[0]}. Targets: {widths[1]}.")
    lines.append(f"- Baseline: {task.baseline.predictor}; {task.baseline.formula}.")
    if task.chance is not None:
        lines.append(f"- Chance: {task.chance:.3g}.")
    if floor is not None:
        error = f" ± {floor.error:.1g}" if floor.error else ""
        lines.append(f"- Ideal observer: {floor.loss:.4g}{error}; {floor.observer}.")
    lines.append(f"- Origin: {task.origin}.")
    lines.append(f"- Parameters: {', '.join(parameters(task.parameters)) or 'none'}.\n")
    return "\n".join(lines)


def named(width: int, names: list[str]) -> str:
    """Return a width, with what each number means if these are few."""
    return f"{width} ({', '.join(names)})" if len(names) <= 12 else f"{width} ({names[0]}, …)"


def parameters(schema: dict[str, Any]) -> list[str]:
    """Return each parameter with its default."""
    found = schema["properties"].items()
    return [f"`{name}` {'none' if about['default'] is None else about['default']}" for name, about in found]


def picture(task: Task, path: Path) -> None:
    """Draw the first trial whose last target is not zero, in few colours, which makes the file small."""
    trials = (trial(task, seed) for seed in range(SEEDS.get(task.name, 0), 100))
    chosen = next(one for one in trials if one.targets[0][-1].any())
    drawn = io.BytesIO()
    chosen.plot(drawn)
    Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)


def trial(task: Task, seed: int) -> Sample:
    """Return one trial."""
    content = catalogue.sample(task.name, SampleRequest(seed=seed), lambda _bytes: None)
    return sample(SampleResponse.model_validate_json(content))


if __name__ == "__main__":
    main()
