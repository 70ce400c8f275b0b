"""The routes, one file for each noun. A route calls a function of the store and answers a type of the contract."""
