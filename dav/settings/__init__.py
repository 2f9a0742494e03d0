"""The tables of settings; dav.config is the door to them."""
