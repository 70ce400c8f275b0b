"""The SDK of Unroll."""
