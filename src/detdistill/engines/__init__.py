"""Adapters to detection libraries, one a folder: the only code that knows them."""
