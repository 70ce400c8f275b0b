"""`python -m api.cli`: how `unroll-server up` starts the API, whatever the scripts' folder is called."""

from api.cli import main

main()
