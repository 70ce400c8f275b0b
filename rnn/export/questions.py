"""The random sequences and states that a parity uses, and their files for the NumPy process. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from unroll.contract import DType, Network

Array = npt.NDArray[Any]
Answer = dict[str, Array]
"""`outputs` [B, …], and, if there are states, `layers.0.h.next` and so on [B, H]. Names are those of an ONNX model."""

_SEQUENCES = 4
_MOST_SEQUENCES = 64


@dataclass(frozen=True, slots=True)
class Question:
    """Equally long sequences that are run together."""

    inputs: Array
    """[B, T, I], or tokens [B, T] in int64."""
    steps: int | None
    """How many outputs are wanted, for architectures that write any number of them; None for the others."""
    states: Answer
    """The states to start from, `layers.0.h` [B, H] and so on. Empty: the network's own initial state."""

    @property
    def fed(self) -> Answer:
        """All inputs of an ONNX model."""
        steps = {} if self.steps is None else {"steps": np.array(self.steps, np.int64)}
        return {"inputs": self.inputs} | steps | self.states


def drawn(network: Network, dtype: DType, seed: int, steps: int, *, stateful: bool) -> list[Question]:
    """Draw the questions: a batch of `steps` time steps, a single step, and, if `stateful`, one from random states.

    The inputs are standard normal, like those of the built-in tasks. Tokens are drawn so that as many different ones as
    possible occur. Training, evaluations and tasks do not draw from this generator.
    """
    generator = np.random.default_rng([seed, 0x65787072])
    reads_one = network.architecture in {"one_to_one", "one_to_many"}
    writes = network.architecture in {"one_to_many", "encoder_decoder"}

    def question(sequences: int, length: int, *, from_states: bool = False) -> Question:
        read = 1 if reads_one else length
        if network.vocabulary_size is None:
            inputs = generator.standard_normal((sequences, read, network.input_size)).astype(dtype)
        else:
            inputs = np.resize(generator.permutation(network.vocabulary_size), (sequences, read)).astype(np.int64)
        states = _states(network, dtype, generator, sequences) if from_states else {}
        return Question(inputs, length if writes else None, states)

    sequences = _SEQUENCES
    if network.vocabulary_size is not None:
        sequences = min(_MOST_SEQUENCES, max(sequences, ceil(network.vocabulary_size / (1 if reads_one else steps))))
    questions = [question(sequences, steps), question(1, 1)]
    if stateful:
        questions.append(question(_SEQUENCES - 1, steps // 2, from_states=True))
    return questions


def _states(network: Network, dtype: DType, generator: np.random.Generator, sequences: int) -> Answer:
    shape = (sequences, network.cell.hidden_size)
    return {
        f"layers.{n}.{name}": generator.uniform(-0.5, 0.5, shape).astype(dtype)
        for n in range(network.num_layers)
        for name in tuple(facts(network.cell).states)
    }


def write_all(path: Path, entries: list[Answer]) -> None:
    """Write questions, as ONNX models take them, or answers to one file."""
    named = {f"{k}/{name}": array for k, entry in enumerate(entries) for name, array in entry.items()}
    np.savez(path, allow_pickle=False, **named)


def read_all(path: Path) -> list[Answer]:
    """Read what `write_all` wrote."""
    entries: dict[int, Answer] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            k, _, name = key.partition("/")
            entries.setdefault(int(k), {})[name] = file[key]
    return [entries[k] for k in sorted(entries)]
