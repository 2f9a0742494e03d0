"""The program's version, as in pyproject.toml: a test compares them. Package metadata would take 15 ms to read."""

VERSION = "0.1.0"
