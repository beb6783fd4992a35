"""The stack's config, read in one place and checked before any resource is registered."""

from settings.args import component_args
from settings.preflight import preflight
from settings.read import SettingsError, read_settings, refuse
from settings.session import aws_session

__all__ = ["SettingsError", "aws_session", "component_args", "preflight", "read_settings", "refuse"]
