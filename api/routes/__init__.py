"""The routes, one file a noun. A route calls a function of the store and answers a type of the contract."""
