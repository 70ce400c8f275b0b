"""The gradient check that users run: hand-written backpropagation against three independent references.

python -m rnn.gradient_check    reads a CheckRequest from stdin, writes a Check (or the error) to stdout

bounds.py     refuses what would take too long; the only file that the server imports (no torch)
batch.py      the weights and the random batch that are checked
engines.py    loss and gradients by hand, on each engine that supports the network
reference.py  the same by autograd, complex steps and central differences over `rnn.reference.equations`
compare.py    the distances between them, and the answer
formulas.py   the equations as text
"""
