"""Upper bounds on single fields and on their products, checked before any tensor is made.

They protect a shared server from requests that could never run. A server may set lower bounds, never higher ones.
"""

from __future__ import annotations

MAX_HIDDEN_SIZE = 16_384
MAX_MASKED = 360
"""Largest number of rows of a mask: a larger one would not fit into a configuration of 256 KiB."""
MAX_WIDTH = 4_096
"""Largest width of a network's inputs or outputs."""
MAX_REPLICAS = 1_024
MAX_BATCH = 65_536
MAX_STEPS = 100_000_000
MAX_LENGTH = 100_000
"""Largest number of time steps in one sequence."""
MAX_PARAMETERS = 500_000_000
"""Largest number of parameters of all replicas together."""
MAX_ACTIVATIONS = 2_000_000_000
"""Largest R * T * B * H: the hidden states that one training step stores for the backward pass."""
MAX_PROFILED = 10_000_000
"""Largest number of values in all per-lag profiles of a job, which its journal keeps."""
MAX_PREDICT_VALUES = 1_000_000
"""Largest number of values in the inputs, in the states, or in the whole answer of one predict request: about 200 MB
in the server."""
MAX_PREDICT_SEQUENCES = 65_536
MAX_PREDICT_ACTIVATIONS = 20_000_000
"""Largest R * T * max(I, H, O) of one predict request, with T summed over all sequences. It limits computation; little
of it is stored."""
MAX_SAMPLE_VALUES = 200_000
"""Largest number of inputs, targets and weights in one sample of a task: about 4 MB of JSON."""
MAX_SAMPLE_STEPS = 5_000
"""Largest number of time steps of a sequence in a sample: some tasks are drawn step by step."""
MAX_LAYERS = 64
MAX_LABELS = 32
MAX_EVALUATED_LENGTHS = 100
MAX_CHECK_STEPS = 200
MAX_CHECK_BATCH = 64
MAX_CHECK_REPLICAS = 8
MAX_CHECK_ENTRIES = 1_000
MAX_CHECK_PARAMETERS = 1_000_000
"""Largest number of parameters of all replicas in a gradient check."""
MAX_CHECK_LAYER_STEPS = 1_000_000
"""Largest number of layer steps that a gradient check computes in plain NumPy: about half a minute."""
MAX_CHECK_MULTIPLICATIONS = 20_000_000_000
"""Largest number of multiplications in a gradient check: entries moved x parameters x time steps x sequences."""
LONG_JOB_SECONDS = 86_400.0
"""A job that is estimated to take longer needs `max_seconds` or a confirmation."""
