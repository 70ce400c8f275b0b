"""The equations as plainly as possible, in NumPy. Oracles and gradient checks compare everything else with them."""
