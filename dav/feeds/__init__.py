"""Calendars and address books that leave the server without a sign-in, and outside ones that come in."""
