"""Moving in and out: reading what other programs keep, and writing what anything can read."""
