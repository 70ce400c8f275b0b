"""The science of Unroll: recurrent networks trained by backpropagation through time, many replicas at once.

The package knows no database, no queue and no web. Its rooms, from the bottom up; each imports only those below it:

    events, errors   what a job says while it runs, and what can be wrong with what this package is given
    kernels          the native CPU kernel, and how it is built
    randomness       random numbers addressed by (seed, purpose, replica, step)
    cells            one file a cell: equations, forward step, hand-derived backward step
    networks         parameters, connectivity, initialisation, and the format of stored weights
    data             what a source of sequences is, the built-in tasks, batches
    serving          predictions on posted sequences
    reference        the equations as plainly as possible; oracles compare with them
    bptt             loss and gradients of R replicas: stacks of layers, readouts, constraints, penalties
    training         the training run: optimisers, evaluations, stopping, checkpoints, cost
    gradient_check   gradients by hand against autograd, complex steps and finite differences
    export           files that other programs load networks from, each with a proof that it computes the same

The API never loads torch, so what it asks (networks, data, serving, checks, costs) is NumPy only.

Notation
--------
A tensor's name ends in its axes, in the order of memory:

    R  replica: R independently seeded networks of one configuration, trained as one batched computation
    T  time step, 0 … T-1 in code, 1 … T in the equations
    B  sequence within the batch (N in a held-out set)
    I, H, O  input, hidden and output units
    A  pre-activations: H, times the gates of a gated cell
    P  all parameters of one replica, flat, in the order of `rnn.networks.parameters.layout`

Sequences are time-first within a replica: `x_RTBI` is R independent sets of [T, B, I]. Then all time steps of a replica
are one matrix [T*B, I], so that the input projection and every weight gradient is one GEMM per replica. The recurrence
itself runs over `h_TRBH`, time first of all, because a batched GEMM is fastest (three times, at H = 10) where the
states of one time step are contiguous. With R = 1 the two orders are the same memory.

Weights map columns to rows as in the course, W_xh [H, I], so a row vector is multiplied by the transpose: x @ W_xh.T.
"""
