"""Exports trained networks to files for other programs, each with a proof that it computes what we compute.

    formats.py      the formats, and what each cannot hold; a server imports only this (no onnx, no torch)
    write.py        export(weights, replica, format) returns a file's bytes
    state_dict.py   the names of torch.nn's modules for our tensors, and back
    onnx_model.py   a network as an ONNX graph; onnx_cells.py: its layers; onnx_graph.py: nodes and names
    parity.py       proven(weights, replica, format, seed): the file and its parity, which passed or did not;
                    parity(content, format, weights, replica, seed): compares a file's outputs with our predictions
    questions.py    the random inputs and states of a parity, as files for the NumPy process
    runtimes.py     the results of onnxruntime and torch.nn
    reading.py      the results of plain NumPy for a file
    __main__.py     python -m rnn.export FOLDER FORMAT: runs reading.py in a process of its own

`formats` and `write` need no runtime except onnx for its own format. `onnx`, `onnxruntime` and `torch` are imported
where they are used, so only the process that exports loads them.

Every file holds the weights that the network uses: with constraints applied and learned time constants in place.
"""
