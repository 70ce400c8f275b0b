"""The gradient check that users run: backpropagation by hand against three independent references.

python -m rnn.gradient_check    reads a CheckRequest on stdin, writes a Check (or what is wrong) on stdout

bounds.py     refuses what would take too long; the only part that a server imports (no torch)
batch.py      the weights and the random batch that are checked
engines.py    loss and gradients by hand, on each engine that has the network
reference.py  the same by autograd, complex steps and central differences over `rnn.reference.equations`
compare.py    the distances between them, and the answer; formulas.py: the equations written out
"""
