"""The resource types of the emulated provider, by AWS service."""
