"""`python -m api.cli`, with which `unroll-server up` starts the API, wherever the scripts are installed."""

from api.cli import main

main()
