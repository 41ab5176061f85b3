"""What a study must bear: `python -m torture` in this folder's parent, or `make torture`. It prints one table."""
