"""Measurements over the wire. They print numbers and never judge them: see README.md."""
