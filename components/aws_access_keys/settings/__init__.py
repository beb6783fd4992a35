"""The stack's config, read in one place and checked before any resource is registered."""
