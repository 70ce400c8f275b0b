"""This script shows that the covering sets of the two matrices find what all of their cases find.

    python -m tests.oracles.mutants               runs all mutants, a quarter of an hour, and writes docs/mutants.md
    python -m tests.oracles.mutants --only gemm   runs those whose file or description has this text; writes nothing

A mutant is one wrong line: `before`, which stands exactly once in rnn/, becomes `after` in a copy of the tree. The
script runs the covering sets on it up to the first failure (a test that kills its process fails too), and where they
find nothing, all cases. It ends with 1 if all cases alone find a mutant. It runs nothing if the line of a mutant is
gone: the mutant has to follow the code. It needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import torch  # noqa: F401 - what takes long to import, once for all runs

import store.schema  # noqa: F401 - the same
import unroll.contract  # noqa: F401 - the same
from rnn import kernels
from rnn.kernels.build import compiler

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "mutants.md"
COPIED = ("rnn", "sdk", "store", "tests", "pyproject.toml")
MATRICES = ("tests/oracles/test_matrix.py", "tests/oracles/test_architecture_matrix.py")

# Each: what it breaks, before, after.
MUTANTS: tuple[tuple[str, str, str], ...] = (
    # --- constraints
    (
        "every replica has the first one's connections",
        "is not None:\n                W = W * allowed",
        "is not None:\n                W = W * allowed[:1]",
    ),
    (
        "every layer has the first one's connections",
        "connectivity.mask(network, n, r) for",
        "connectivity.mask(network, 0, r) for",
    ),
    (
        "a decoder has its encoder's connections",
        "connectivity.mask(network, n, r) for",
        "connectivity.mask(network, n % network.num_layers, r) for",
    ),
    ("Dale's signs multiply without the magnitude", "W = W.abs() * self._sign_H", "W = W * self._sign_H"),
    (
        "the derivative of |W| is 1",
        "torch.where(W < 0, -self._sign_H, self._sign_H)",
        "torch.where(W < 0, self._sign_H, self._sign_H)",
    ),
    ("gradients are not masked", "g.mul_(allowed)", "pass"),
    ("gradients are not symmetrised", "g.copy_(self._symmetrised(g))", "pass"),
    ("antisymmetric is symmetric", "else (W - W.mT) / 2", "else (W + W.mT) / 2"),
    (
        "constraints hold for the first gate alone",
        "return W_RAH.view(len(W_RAH), -1, H, H)",
        "return W_RAH.view(len(W_RAH), -1, H, H)[:, :1]",
    ),
    (
        "the sign in dtau/dtheta",
        "g.mul_(network.cell.dt - self._used_views[name])",
        "g.mul_(network.cell.dt + self._used_views[name])",
    ),
    ("the readout sees inhibitory units", 'self._used_views["readout.W_hy"].mul_(self._read_H)', "pass"),
    (
        "inhibitory units' W_hy has a gradient",
        '                views["readout.W_hy"].mul_(self._read_H)',
        "                pass",
    ),
    ("a constrained network is not updated", "        self.used.copy_(self._raw)", "        self.used.add_(self._raw)"),
    (
        "a network without autapses is not constrained",
        ' and c.symmetry == "none" and c.autapses)',
        ' and c.symmetry == "none")',
    ),
    ("a mask is no constraint", "c.density == 1 and c.mask is None and", "c.density == 1 and"),
    ("a density is no constraint", "c.density == 1 and c.mask is None and", "c.mask is None and"),
    ("symmetry is no constraint", ' and c.symmetry == "none" and c.autapses)', " and c.autapses)"),
    ("a learned tau is no constraint", "return learned or not (", "return not ("),
    ("gates are symmetric with one another", "(W + W.mT) / 2 if", "(W + W.flip(1).mT) / 2 if"),
    ("Dale's signs are the receiver's", "W = W.abs() * self._sign_H", "W = W.abs() * self._sign_H.unsqueeze(-1)"),
    # --- whole and truncated BPTT
    (
        "many_to_one reads every step",
        'last_only=network.architecture == "many_to_one" and not weighted',
        "last_only=False",
    ),
    ("the activity has no gradient", "self.stack.backward(reach=self.penalty.reach)", "self.stack.backward()"),
    (
        "one_to_many reads inputs at every step",
        'input_steps = 1 if network.architecture == "one_to_many" else time_steps',
        "input_steps = time_steps",
    ),
    ("windows are penalised like whole sequences", "activity if weighted else activity * steps / T", "activity"),
    ("each window starts from h0", "engine.stack.continuing = n > 0", "engine.stack.continuing = False"),
    (
        "the third window starts from the first one's end",
        "            if n > 0:\n                self._set_states",
        "            if n == 1:\n                self._set_states",
    ),
    ("windows without a loss are not penalised", "if unread and not self._penalised", "if unread"),
    ("the last batch's gradients stay", "self._total_RP.zero_()", "pass"),
    (
        "every window trains h0",
        "                if self.continuing:\n                    gradient.zero_()",
        "                if False:\n                    gradient.zero_()",
    ),
    ("windows without a loss have the last one's gradient", "        self.y_RTBO.zero_()\n", "        pass\n"),
    # --- stacks, encoder and decoder
    (
        "h0's gradient is a mean over sequences",
        "torch.sum(layer.d_initial[name], 1, out=gradient)",
        "torch.mean(layer.d_initial[name], 1, out=gradient)",
    ),
    ("the first state is handed on", "copy_(trajectory_RTBH[:, -1])", "copy_(trajectory_RTBH[:, 0])"),
    ("a cell state's gradient goes to h", "if name in source.d_states:", "if False:"),
    (
        "sequences of one step are handed on from the second",
        "return (self._length_RB - 1).view",
        "return (self._length_RB - 1).clamp(min=1).view",
    ),
    ("the last batch's gradient of the encoder stays", "self._encoder.layers[-1].dh_RTBH.zero_()", "pass"),
    (
        "a forced decoder reads what it is to write",
        "copy_(self.mean.target_RTBO[:, :-1])",
        "copy_(self.mean.target_RTBO[:, 1:])",
    ),
    (
        "a mixed decoder reads what it is to write",
        "self.mean.target_RTBO[:, t - 1], x_RBO",
        "self.mean.target_RTBO[:, t], x_RBO",
    ),
    (
        "gradients pass through forced steps",
        "du_RBO = du_RBO.masked_fill(self.forced_RTB[:, t + 1].unsqueeze(-1) > 0, 0.0)",
        "pass",
    ),
    ("feedback has the identity's gradient", "pulled_back(self._feedback, self._y_RTBO[:, t], du_RBO)", "du_RBO"),
    ("softmax's Jacobian is diagonal", "return p * (d - (p * d).sum(-1, keepdim=True))", "return p * (d - p * d)"),
    (
        "embeddings' gradients pile up",
        "gradient_VI.zero_().index_add_(0, ids_N, dx_NI)",
        "gradient_VI.index_add_(0, ids_N, dx_NI)",
    ),
    # --- penalties, readout, losses
    ("l1 and l2 hold for W_hh alone", 'if ".W_" in name}', 'if ".W_hh" in name}'),
    ("WW' instead of W'W", "excess = W.mT @ W - self._identity", "excess = W @ W.mT - self._identity"),
    (
        "the activity's gradient is a mean over replicas",
        "2 * self._activity / h_RTBH[0].numel()",
        "2 * self._activity / h_RTBH.numel()",
    ),
    ("a layer that reads itself out keeps dh", "dh_RTBH.zero_()  # nothing else", "pass  # nothing else"),
    ("omega knows no leak", "v.addcmul_(ds, state.keep_R1H.unsqueeze(1))", "pass"),
    ("omega replaces the loss's gradient", 'layer.g["W_hh"].add_(self._dW_hh)', 'layer.g["W_hh"].copy_(self._dW_hh)'),
    (
        "steps that are not read keep their gradient",
        "            self._dh_RTBH.zero_()\n        self._product(dy",
        "            pass\n        self._product(dy",
    ),
    (
        "many_to_one has the first step's target",
        "copy_(self.target_RTBO[:, self._read])",
        "copy_(self.target_RTBO[:, :1])",
    ),
    (
        "a weighted mean counts every step",
        "weight_RTB.flatten(1).mean(1).mul_(elements)",
        "weight_RTB.flatten(1).mean(1).fill_(1.0).mul_(elements)",
    ),
    ("the derivative of bce", "y.sigmoid_().sub_(target)", "y.tanh_().sub_(target)"),
    # --- cells
    (
        "vanilla: W_hh does not act on h0",
        "activate[t - 1]) if t > 1 or spec.carried else",
        "activate[t - 1]) if t > 1 else",
    ),
    ("vanilla: the last step has slope 1", "                self._last_step()\n", "                pass\n"),
    ("vanilla: h0 has no gradient", "if self._recurrent and self.spec.carried:", "if False:"),
    ("b_h has no gradient", 'self.g["b_h"].copy_(self.g["b_x"])', 'self.g["b_h"].zero_()'),
    ("W_hh's gradient leaves the first step out", "first = 0 if self.from_start else 1", "first = 1"),
    ("rates: da is not scaled", "self._da_TRBH.mul_(self._alpha_R1H)", "pass"),
    ("potentials: v0's gradient has slope 1", "d_initial.mul_(slope_RBH)", "pass"),
    (
        "potentials: what is handed on has no gradient",
        "self._backward_steps.append(partial(dh[t].add_, self.matrices(d_states_TRBH[t])))",
        "pass",
    ),
    ("a learned tau's leak stays", "torch.sub(1.0, self._alpha_R1H, out=self._keep_R1H)", "pass"),
    (
        "the sign of dL/dtau",
        "dalpha_RH.mul_(-self._alpha_R1H[:, 0] / tau)",
        "dalpha_RH.mul_(self._alpha_R1H[:, 0] / tau)",
    ),
    ("potentials: dv/dalpha is not scaled", "out=self._s_TRBH).div_(self._alpha_R1H)", "out=self._s_TRBH)"),
    ("lstm: the forget gate sees c[t]", "to_f.mul_(self._c_TRBH[:-1])", "to_f.mul_(self._c_TRBH[1:])"),
    (
        "lstm: dc passes through the input gate",
        "self.matrices(self._a_TRBA[t])[..., H : 2 * H]",
        "self.matrices(self._a_TRBA[t])[..., :H]",
    ),
    (
        "lstm: what is handed on has no gradient",
        "self._backward_steps.append(partial(dc.add_, self.matrices(d_states_TRBH[t])))",
        "pass",
    ),
    ("gru: the update gate sees h[t]", "mul_(self.h_TRBH[:-1] - n)", "mul_(self.h_TRBH[1:] - n)"),
    ("gru: h0's gradients pile up", 'self.d_initial["h"].zero_()', "pass"),
    (
        "gru: b_h is added to the input",
        'bias.copy_(self.w["b_x"])\n\n    def forward',
        'bias.copy_(self.w["b_x"] + self.w["b_h"])\n\n    def forward',
    ),
    (
        "gru: gates are unpacked in the wrong order",
        "out[..., 2 * H :, :].copy_(rows[..., :H, :])",
        "out[..., 2 * H :, :].copy_(rows[..., H : 2 * H, :])",
    ),
    # --- the kernel's layer in Python
    ("native: dL/dtau of potentials is scaled twice", "if not self._potentials:  # of which", "if True:  # of which"),
    ("native: outputs are the first steps", "self.h_RTBH.shape[1] - y_RTBO.shape[1]", "0 * y_RTBO.shape[1]"),
    (
        "native: tau is read once",
        'if "tau" in self.spec.weights:\n            torch.div(self._dt',
        "if False:\n            torch.div(self._dt",
    ),
    (
        "native: replicas share their first row",
        "CTensor(tensor.data_ptr(), tensor.stride(0))",
        "CTensor(tensor.data_ptr(), 0)",
    ),
    # --- resuming
    (
        "a resumed run forgets its moments",
        "np.zeros_like(parameters_RP) if moments is None else moments[name]",
        "np.zeros_like(parameters_RP)",
    ),
    (
        "a resumed kernel counts its updates from zero",
        "Update(config, self._memory_KRP, steps_taken)",
        "Update(config, self._memory_KRP, 0)",
    ),
    (
        "a resumed workspace counts its updates from zero",
        "torch.tensor(float(steps_taken), device=device)",
        "torch.tensor(0.0, device=device)",
    ),
    (
        "raw parameters are not kept",
        "raw=optimizer.parameters.cpu().numpy() if connectivity.is_constrained(self._network) else None",
        "raw=None",
    ),
    # --- C++: the passes
    (
        "W_hh does not act on h0",
        "if (Cell::h_block(g) == block && (t || starts))",
        "if (Cell::h_block(g) == block && t)",
    ),
    ("W_hh does not act on an LSTM's h0", "t || starts ? 2 : 1", "t ? 2 : 1"),
    ("half a vector of an LSTM's units is left out", "if (hidden.half) units", "if (false) units"),
    ("b_h is left out", "if (b_h) bias[", "if (false) bias["),
    ("b_y is left out", "sum<T>(dot) + b_y[o]", "sum<T>(dot)"),
    (
        "a readout of the first vector",
        "for (int64_t k = 0; k < hidden.columns(); k += lanes<T>) dot +=",
        "for (int64_t k = 0; k < lanes<T>; k += lanes<T>) dot +=",
    ),
    ("dc is not cleared", "clear(dc, rows * S);\n        for", "for"),
    ("what is carried is not cleared", "clear(carry, rows * S);", ""),
    ("dL/dh of the first step is left out", "if (p.dh && t >= 0)", "if (p.dh && t > 0)"),
    ("v0's gradient has slope 1", "times_slope(p.activation, rates, n * S, dh);", ""),
    ("v0's gradient leaves the leak out", "for (int64_t i = 0; i < n * S; ++i) dh[i] += dc[i];", ""),
    ("c0 has no gradient", "if (p.dc_first) std::memcpy(", "if (false) std::memcpy("),
    (
        "what is handed on has no gradient",
        "store(dc + i, load(dc + i) + load(from + i))",
        "store(dc + i, load(dc + i))",
    ),
    (
        "dL/dx of the first gate alone",
        "multiply(inputs, parts, Cell::GATES, n,",
        "multiply(inputs, parts, 1, n,",
    ),
    (
        "h0 does not count in W_hh's gradient",
        "t ? h(r, t - 1, b + first) : h_before + first * S",
        "t ? h(r, t - 1, b + first) : zeros + first * S",
    ),
    (
        "b_h has b_x's gradient",
        "put(gate(to.b_h, g * H), 1, H, db + Cell::h_block(g) * S",
        "put(gate(to.b_h, g * H), 1, H, db + Cell::x_block(g) * S",
    ),
    ("unread steps count in W_hy's gradient", "if (t0 < p.first_output) t0 = p.first_output;", ""),
    ("W_xh's gradient is transposed", "H, I, dW_x + g * I * S, 1, S);", "H, I, dW_x + g * I * S, S, 1);"),
    # --- C++: cells
    ("rates carry dh on in full", "store(s.carry + i + k, dh - part);", "store(s.carry + i + k, dh);"),
    (
        "dL/dalpha of potentials lacks what goes on",
        "total += (load(s.da + i) + load(s.dc + i)) *",
        "total += load(s.da + i) *",
    ),
    (
        "the slope of sigmoid",
        "store(d + i, load(d + i) * load(h + i) * (one - load(h + i)));",
        "store(d + i, load(d + i) * (one - load(h + i)));",
    ),
    ("an LSTM never forgets a gradient", "store(s.dc + k, dc * forget);", "store(s.dc + k, dc);"),
    (
        "a GRU's q_n has p_n's gradient",
        "store(s.da + 3 * s.da_block + k, da_x * reset);",
        "store(s.da + 3 * s.da_block + k, da_x);",
    ),
    # --- C++: products, vectors, squared errors
    ("every panel has the first one's weights", "part[s].b += first * part[s].K;", ""),
    (
        "every panel starts from the first one's biases",
        "start + m * start_row + first : nullptr",
        "start + m * start_row : nullptr",
    ),
    (
        "every block of rows has the first one's gradients",
        "part[s].a += m;\n                part[s].b += first;",
        "part[s].b += first;",
    ),
    (
        "gradients of every panel are the first one's",
        "part[s].a += m;\n                part[s].b += first;",
        "part[s].a += m;",
    ),
    (
        "a panel lacks its last column",
        "columns - first < wide ? columns - first : wide;",
        "columns - first < wide ? columns - first : wide - 1;",
    ),
    (
        "halves are not packed",
        "const int64_t real = columns - first < wide",
        "const int64_t real = panels.is_half(p) ? 0 : columns - first < wide",
    ),
    (
        "tiles of five rows have four",
        "tile<T, V, 4, N, TRANSPOSED>, tile<T, V, 5, N, TRANSPOSED>",
        "tile<T, V, 4, N, TRANSPOSED>, tile<T, V, 4, N, TRANSPOSED>",
    ),
    (
        "sigmoid is off by a thousandth",
        "return tanh(x * 0.5f) * 0.5f + 0.5f;",
        "return tanh(x * 0.5f) * 0.5f + 0.501f;",
    ),
    ("the last numbers' derivative is halved", "            y[i] = d + d;", "            y[i] = d;"),
    ("a vector's derivative is halved", "store(y + i, d + d);", "store(y + i, d);"),
    (
        "weights do not weigh the derivative (test_updates.py has weights other than 0 and 1)",
        "y[i] = w * (d + d);",
        "y[i] = d + d;",
    ),
)


@dataclass(frozen=True)
class Found:
    """What a run of the matrices found: the failed test and what it said; nothing where all passed."""

    test: str = ""
    said: str = ""

    def __str__(self) -> str:
        return f"`{self.test}` {self.said}" if self.test else "no"


def sources(tree: Path) -> dict[Path, str]:
    return {p: p.read_text() for p in sorted(tree.glob("rnn/**/*")) if p.suffix in {".py", ".h", ".cpp"}}


def place(before: str, texts: dict[Path, str]) -> Path:
    """The file where a mutant's line stands, exactly once. Raises LookupError."""
    places = [path for path, text in texts.items() for _ in range(text.count(before))]
    if len(places) != 1:
        where = ", ".join(str(path) for path in places) or "nowhere"
        raise LookupError(f"mutant no longer applies: {before!r} stands in {where}")
    return places[0]


def build(tree: Path, instruction_set: str) -> None:
    """Compile the kernel, in a fraction of the time: one instruction set runs, and that one need not be fast.

    Objects of the others are those of the first build, however wrong the source is by now.
    """
    wrapper, objects = tree / "cxx", tree / "objects"
    objects.mkdir(exist_ok=True)
    wrapper.write_text(
        f"""#!/bin/sh
for output; do :; done
name={objects}/$(basename "$output")
case "$*" in
*VARIANT={instruction_set}* | *-shared*) exec {compiler()} "$@" -O1 ;;
*VARIANT*) [ -e "$name" ] || {compiler()} "$@" -O0 -o "$name"; exec cp "$name" "$output" ;;
*) exec {compiler()} "$@" -O0 ;;
esac
"""
    )
    wrapper.chmod(0o755)
    script = [sys.executable, "rnn/kernels/build.py"]
    subprocess.run(script, cwd=tree, env=os.environ | {"CXX": str(wrapper)}, check=True)


def run(tree: Path, *options: str) -> Found:
    """Run the matrices up to the first failure, in a fork of this process, which has imported what takes long."""
    output = tree / "output.txt"
    child = os.fork()
    if child == 0:
        run_here(tree, output, options)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = output.read_text()
    if code == 0:
        return Found()
    started = [line.split()[0] for line in said.splitlines() if line.startswith("tests/oracles/test_")]
    if code < 0 and started:
        return Found(short(started[-1]), f"the process died of signal {-code}")
    failed = re.search(r"^FAILED (\S+)(?: - (.*))?$", said, re.MULTILINE)
    if code != 1 or failed is None:
        raise RuntimeError(f"pytest ended with {code}:\n{said[-4000:]}")
    asserted = re.findall(r"^    (assert .*|.* in .*: .*)$", said, re.MULTILINE)
    return Found(short(failed[1]), failed[2] or "".join(asserted[-1:]))


def run_here(tree: Path, output: Path, options: tuple[str, ...]) -> NoReturn:
    """Be a pytest in `tree`, and nothing after it."""
    code = 70
    try:
        os.chdir(tree)
        sys.path = [str(tree), str(tree / "sdk"), *(path for path in sys.path if path not in ("", str(ROOT)))]
        for name in [name for name in sys.modules if name.partition(".")[0] in {"rnn", "tests"}]:
            del sys.modules[name]
        with output.open("w") as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
            os.environ["COLUMNS"] = "400"
            how = ["-x", "-v", "-n0", "--tb=short", "--no-header", "-p", "no:cacheprovider"]
            code = pytest.main([*MATRICES, *options, *how])
            sys.stdout.flush()
    finally:
        os._exit(code)


def short(test: str) -> str:
    return test.removeprefix("tests/oracles/")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose file or change has this text")
    return parser.parse_args()


def copied(tree: Path) -> None:
    """Copy into `tree` what the matrices need."""
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "dist"))
        else:
            shutil.copy(ROOT / name, tree / name)


def main() -> int:
    asked = arguments()
    texts = {path.relative_to(ROOT): text for path, text in sources(ROOT).items()}
    mutants = [(place(before, texts), what, before, after) for what, before, after in MUTANTS]
    rows, missed = [], []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        copied(tree)
        instruction_set = kernels.instruction_set()
        build(tree, instruction_set)
        library = tree / "rnn" / "kernels" / "libunroll.so"
        good = library.read_bytes()
        if wrong := run(tree).test:
            raise RuntimeError(f"without a mutant fails: {wrong}")
        for path, what, before, after in mutants:
            if asked.only not in f"{path} {what}":
                continue
            begin = time.monotonic()
            (tree / path).write_text(texts[path].replace(before, after))
            if path.suffix != ".py":
                build(tree, instruction_set)
            covering = run(tree)
            everything = covering if covering.test else run(tree, "--product")
            (tree / path).write_text(texts[path])
            library.unlink()
            library.write_bytes(good)
            rows.append((path, what, covering, everything))
            if everything.test and not covering.test:
                missed.append(what)
            print(f"{time.monotonic() - begin:5.0f} s  {path}: {what}: {covering}", flush=True)
            if everything is not covering:
                print(f"         all cases: {everything}", flush=True)
    summary = (
        f"{len(rows)} mutants: {sum(bool(row[2].test) for row in rows)} found by the covering sets, "
        f"{len(missed)} by all cases alone, {sum(not row[3].test for row in rows)} by none."
    )
    print(summary, *missed, sep="\n")
    if not asked.only:
        TABLE.write_text(table(summary, rows))
    return bool(missed)


def table(summary: str, rows: list[tuple[Path, str, Found, Found]]) -> str:
    """The page docs/mutants.md."""
    lines = [ABOUT.format(summary=summary), "| file | what is wrong | covering sets | all cases |", "|---|---|---|---|"]
    for path, what, covering, everything in rows:
        cells = (f"`{path}`", what, str(covering), "yes" if covering.test else str(everything))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


ABOUT = """# Mutants of the matrices

`make test` runs a covering set of the cases of `tests/oracles/test_matrix.py` and `test_architecture_matrix.py`, and
`make test-all` all of them (`tests/oracles/cases.py` says which cases cover the rest). This table shows what is lost by
that. Each row is one wrong line in a copy of `rnn/`, and the first test of the covering sets that failed because of it.
Where none did, all cases ran. `python -m tests.oracles.mutants` writes this page.

{summary}
"""


if __name__ == "__main__":
    sys.exit(main())
