"""The short way of plain predictions, which answers them without the framework, several in one call of the kernel.

    known.py     what the ordinary way found out about a request's head: whose key, which network; for a second at most
    desk.py      collects the small runs of one turn of the event loop, and runs them together
    plain.py     reads plain requests, puts them on the desk, and answers them
    protocol.py  uvicorn's protocol, which asks for the short way before it parses a request

A request is plain if its head is known, byte by byte but for the length of the body, and its body is short and well
formed. Everything else, every first request and every error included, goes the ordinary way through FastAPI, which
authenticates, refuses, answers, and tells the memory of heads. So what is allowed is decided in one place. See
docs/adr/0021.
"""
