"""Tests that judge the server from outside: real processes, real sockets, real clients."""
