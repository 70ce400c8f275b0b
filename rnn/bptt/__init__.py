"""Hand-written backpropagation through time: loss, gradients, constraints and penalties of R replicas at once."""
