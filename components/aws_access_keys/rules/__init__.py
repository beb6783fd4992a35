"""The rules AWS and this project hold access keys to: pure functions, no I/O, no Pulumi."""
