"""The REST API: routes that call `store`, one file a noun, and what every request needs around them.

The way of a request: `observe` (id, log, figures, the last resort of errors) → `limits` (size of the body) → a route,
which authenticates (`auth`), validates (`bodies`), calls one function of the store and answers a type of the contract.
Whatever is refused on the way becomes a problem document in `errors`.
"""
