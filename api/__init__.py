"""The REST API: routes that call `store`, one file for each noun, and what every request needs around them.

The path of a request: `observe` (id, log, metrics, unexpected errors) → `limits` (size of the body) → a route, which
authenticates (`auth`), validates (`bodies`), calls one function of the store and answers a type of the contract.
`errors` turns every refusal on this path into a problem document.
"""
