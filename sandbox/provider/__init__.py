"""A stand-in for the pulumi-resource-aws plugin: the same resources, over boto3, against one endpoint only."""

from .server import Server, serve

__all__ = ["Server", "serve"]
