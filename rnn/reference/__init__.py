"""The equations in their plainest form. Oracles and gradient checks compare all other code with them."""
