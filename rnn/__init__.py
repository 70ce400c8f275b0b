"""The science of Unroll: recurrent networks trained by backpropagation through time, many replicas at once.

`rnn.train.train(job)` yields events and knows no database, queue or web. What runs inside a server that must not load
torch (tasks, parameters, connectivity, check, estimate, events, state, inference, numpy_page) is NumPy only. What
trains needs torch: `train` drives `bptt` (or `truncated`), which is layers (`layer`, `cells`, `kernels`) and a
`readout` with its `losses`; `reparametrise` keeps constraints, `optimizers` moves what is free.

Notation
--------
A tensor's name ends in its axes, in the order of memory:

    R  replica: R independently seeded networks of one configuration, trained as one batched computation
    T  time step, 0 … T-1 in code, 1 … T in the equations
    B  sequence within the batch (N in a held-out set)
    I, H, O  input, hidden and output units
    A  pre-activations: H, times the gates of a gated cell
    P  all parameters of one replica, flat, in the order of `rnn.parameters.layout`

Sequences are time-first within a replica: `x_RTBI` is R independent sets of [T, B, I]. Then all time steps of a replica
are one matrix [T*B, I], so that the input projection and every weight gradient is one GEMM per replica. The recurrence
itself runs over `h_TRBH`, time first of all, because a batched GEMM is fastest (three times, at H = 10) where the
states of one time step are contiguous. With R = 1 the two orders are the same memory.

Weights map columns to rows as in the course, W_xh [H, I], so a row vector is multiplied by the transpose: x @ W_xh.T.
"""
