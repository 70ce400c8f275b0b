"""Networks as data: parameters, connectivity, initial weights, and the format in which weights are stored."""
