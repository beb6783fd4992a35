"""Tags: a provider's default tags and the tags it must not see."""

from dataclasses import dataclass, field
from typing import Any

Tags = dict[str, Any]


@dataclass(frozen=True)
class TagSettings:
    """A provider's ``defaultTags.tags``, ``ignoreTags.keys`` and ``ignoreTags.keyPrefixes``."""

    defaults: Tags = field(default_factory=dict)
    ignored_keys: frozenset[str] = frozenset()
    ignored_prefixes: tuple[str, ...] = ()

    def seen(self, key: str) -> bool:
        """Whether a tag is this provider's business; AWS's own (``aws:``) never are."""
        return not (key.startswith(("aws:", *self.ignored_prefixes)) or key in self.ignored_keys)

    def all(self, tags: Tags | None) -> Tags:
        """What a resource with these ``tags`` carries: ``tagsAll``."""
        return {key: value for key, value in (self.defaults | (tags or {})).items() if self.seen(key)}

    def split(self, on_aws: Tags, configured: Tags | None) -> tuple[Tags, Tags]:
        """(tags, tagsAll) from what AWS reports. A tag that only a default explains is not in ``tags``."""
        everything = {key: value for key, value in on_aws.items() if self.seen(key)}
        own = {
            key: value
            for key, value in everything.items()
            if self.defaults.get(key) != value or key in (configured or {})
        }
        return own, everything


def to_list(tags: Tags) -> list[dict[str, str]]:
    """[{Key, Value}], the form most services take."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def from_list(tags: list[dict[str, str]] | None) -> Tags:
    return {tag["Key"]: tag["Value"] for tag in tags or []}


def difference(old: Tags | None, new: Tags | None) -> tuple[list[str], Tags]:
    """(keys to take away, tags to set) that lead from ``old`` to ``new``."""
    old, new = old or {}, new or {}
    return ([key for key in old if key not in new], {key: value for key, value in new.items() if old.get(key) != value})
