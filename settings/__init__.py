"""The stack's config, read in one place and checked before any resource is registered."""

from settings.read import SettingsError, read_settings
from settings.shape import GroupSettings, StackSettings, UserSettings

__all__ = ["GroupSettings", "SettingsError", "StackSettings", "UserSettings", "read_settings"]
