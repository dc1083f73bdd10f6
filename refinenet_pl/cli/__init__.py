"""The `refinenet` command."""
