"""Files that other programs load trained networks from, each with a proof that it computes what we compute.

    formats.py      which formats there are, and what each cannot hold; all that a server imports (no onnx, no torch)
    write.py        export(weights, replica, format) gives a file's bytes
    state_dict.py   the names of torch.nn's modules for our tensors, and back
    onnx_model.py   a network as an ONNX graph; onnx_cells.py: its layers; onnx_graph.py: nodes and names
    parity.py       proven(weights, replica, format, seed): the file and its parity, which passed or did not;
                    parity(content, format, weights, replica, seed): a file's outputs beside our own predictions
    questions.py    the random inputs and states of a parity, as files for the process beside
    runtimes.py     what onnxruntime and torch.nn answer
    reading.py      what plain NumPy reads out of a file
    __main__.py     python -m rnn.export FOLDER FORMAT: that reading in a process of its own

`formats` and `write` need no runtime but onnx for its own format. `onnx`, `onnxruntime` and `torch` are imported where
they are used, so only the process that exports loads them.

The weights in every file are those that the network uses: constraints applied, learned time constants in place.
"""
