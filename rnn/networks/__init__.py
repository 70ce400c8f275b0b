"""A network as data: its parameters, its connectivity, how weights start, and the format in which they are stored."""
