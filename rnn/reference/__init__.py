"""The equations as plainly as possible. Oracles and gradient checks compare everything else with them."""
