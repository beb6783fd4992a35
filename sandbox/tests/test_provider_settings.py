"""Providers with settings: region, tags, keys; and the isolation that keeps everything in the sandbox."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_support import ROOT, Strict
from provider_client import Connection, ProviderFaultError, Secret, connected
from pulumi_sandbox.provider.server import serve

USER, KEY, BUCKET = "aws:iam/user:User", "aws:iam/accessKey:AccessKey", "aws:s3/bucket:Bucket"
CALLER, REGION = "aws:index/getCallerIdentity:getCallerIdentity", "aws:index/getRegion:getRegion"


# ---- region


def test_each_configured_provider_has_its_own_region(connection: Connection) -> None:
    with connected(connection.port, "frankfurt", region="eu-central-1") as frankfurt:
        assert connection.invoke(REGION, {})["region"] == "ap-northeast-2"
        assert frankfurt.invoke(REGION, {})["region"] == "eu-central-1"
        bucket = frankfurt.make(BUCKET, {"bucket": "in-frankfurt"})
    assert bucket.outputs["bucketRegionalDomainName"] == "in-frankfurt.s3.eu-central-1.amazonaws.com"
    assert bucket.outputs["hostedZoneId"] == "Z21DNDUVLTQW6Q"


def test_a_resource_may_choose_a_region_of_its_own(connection: Connection) -> None:
    parameter = connection.make(
        "aws:ssm/parameter:Parameter", {"name": "/abroad", "type": "String", "value": "x", "region": "eu-west-1"}
    )
    assert parameter.outputs["arn"].startswith("arn:aws:ssm:eu-west-1:")
    assert parameter.refresh(), "it must be read where it is"
    assert parameter.outputs["region"] == "eu-west-1"
    parameter.delete()


def test_the_partition_follows_the_region(connection: Connection) -> None:
    with connected(connection.port, "beijing", region="cn-north-1") as beijing:
        answer = beijing.invoke("aws:index/getPartition:getPartition", {})
    assert (answer["partition"], answer["dnsSuffix"]) == ("aws-cn", "amazonaws.com.cn")


def test_an_invalid_region_is_refused(connection: Connection) -> None:
    assert "'mars' is not a valid AWS region" in connection.check_settings({"region": "mars"})["region"]
    with pytest.raises(ProviderFaultError, match="AWS has no region 'xx-north-1'"):
        connection.invoke(REGION, {"region": "xx-north-1"})
    with (
        pytest.raises(ProviderFaultError, match="AWS has no region 'xx-north-1'"),
        connected(connection.port, region="xx-north-1"),
    ):
        pass


# ---- account


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"allowedAccountIds": '["123456789012"]'}, True),
        ({"allowedAccountIds": '["999999999999", "123456789012"]'}, True),
        ({"allowedAccountIds": '["999999999999"]'}, False),
        ({"forbiddenAccountIds": '["999999999999"]'}, True),
        ({"forbiddenAccountIds": '["123456789012"]'}, False),
        ({"allowedAccountIds": "[]", "forbiddenAccountIds": "[]"}, True),
    ],
)
def test_an_account_that_is_not_allowed_stops_the_provider(
    connection: Connection, settings: dict[str, str], allowed: bool
) -> None:
    for name in ("default_7_51_1", "explicit"):
        if allowed:
            with connected(connection.port, name, **settings) as accepted:
                assert accepted.invoke(CALLER, {})["accountId"] == "123456789012"
        else:
            with (
                pytest.raises(ProviderFaultError, match="AWS account ID not allowed: 123456789012"),
                connected(connection.port, name, **settings),
            ):
                pass


def test_allowed_and_forbidden_accounts_exclude_each_other(connection: Connection) -> None:
    settings = {"allowedAccountIds": '["123456789012"]', "forbiddenAccountIds": '["999999999999"]'}
    assert "conflicts with forbiddenAccountIds" in connection.check_settings(settings)["allowedAccountIds"]


# ---- tags


def test_default_tags_go_onto_everything_and_into_tags_all_only(connection: Connection, strict: Strict) -> None:
    settings = {"region": "us-east-1", "defaultTags": json.dumps({"tags": {"team": "x", "env": "dev"}})}
    with connected(connection.port, "tagging", **settings) as tagging:
        user = tagging.make(USER, {"name": "tagged", "tags": {"env": "prod", "a": "b"}})
        assert user.outputs["tags"] == {"env": "prod", "a": "b"}
        assert user.outputs["tagsAll"] == {"team": "x", "env": "prod", "a": "b"}, "the resource's own tag wins"
        user.refresh()
        assert user.outputs["tags"] == {"env": "prod", "a": "b"}, "a refresh must not mistake defaults for own tags"
        assert not user.diff({"name": "tagged", "tags": {"env": "prod", "a": "b"}}).diffs
        user.update({"name": "tagged"})
    on_aws = {tag["Key"]: tag["Value"] for tag in strict.client("iam").list_user_tags(UserName="tagged")["Tags"]}
    assert on_aws == {"team": "x", "env": "dev"}, "without own tags the defaults remain"


def test_ignored_tags_are_neither_seen_nor_touched(connection: Connection, strict: Strict) -> None:
    settings = {"region": "us-east-1", "ignoreTags": json.dumps({"keys": ["owner"], "keyPrefixes": ["AKIA"]})}
    iam = strict.client("iam")
    with connected(connection.port, "blind", **settings) as blind:
        user = blind.make(USER, {"name": "described", "tags": {"a": "b"}})
        # The console keeps a key's description in a tag that is named after the key.
        for name, value in {"AKIAEXAMPLE": "CI", "owner": "me"}.items():
            iam.tag_user(UserName="described", Tags=[{"Key": name, "Value": value}])
        user.refresh()
        assert user.outputs["tagsAll"] == {"a": "b"}, "ignored tags are not in the state"
        assert not user.diff({"name": "described", "tags": {"a": "b"}}).diffs, "and cause no drift"
        user.update({"name": "described", "tags": {"a": "c"}})
    on_aws = {tag["Key"]: tag["Value"] for tag in iam.list_user_tags(UserName="described")["Tags"]}
    assert on_aws == {"a": "c", "AKIAEXAMPLE": "CI", "owner": "me"}, "and stay on AWS"


def test_a_tag_set_behind_the_programs_back_is_seen_and_taken_away(connection: Connection, strict: Strict) -> None:
    user = connection.make(USER, {"name": "drifting", "tags": {"a": "b"}})
    strict.client("iam").tag_user(UserName="drifting", Tags=[{"Key": "stray", "Value": "1"}])
    assert not user.diff({"name": "drifting", "tags": {"a": "b"}}).diffs, "without a refresh nobody knows"
    user.refresh()
    assert user.diff({"name": "drifting", "tags": {"a": "b"}}).diffs == ["tags"]
    user.update({"name": "drifting", "tags": {"a": "b"}})
    assert user.outputs["tagsAll"] == {"a": "b"}


@pytest.mark.parametrize("path", ["tags", "tags.a", 'tags["a"]'])
def test_ignore_changes_leaves_tags_as_they_are(connection: Connection, path: str) -> None:
    user = connection.make(USER, {"name": f"ignoring-{len(path)}", "tags": {"a": "b"}})
    changed = {"name": user.id, "tags": {"a": "c"}}
    assert not user.diff(changed, ignore=(path,)).diffs, f"ignoreChanges {path} must hide the change"
    updated = user.update(changed | {"forceDestroy": True}, ignore=(path,))
    assert updated["tags"] == {"a": "b"}, "an update of something else must leave the tags alone"


# ---- whose key signs


def test_an_explicit_provider_with_its_own_key_acts_as_that_user(connection: Connection) -> None:
    connection.make(USER, {"name": "alice"})
    key = connection.make(KEY, {"user": "alice"})
    assert isinstance(key.outputs["secret"], Secret)
    settings = {"region": "us-east-1", "accessKey": key.id, "secretKey": key.outputs["secret"].value}
    with connected(connection.port, "as-alice", **settings) as as_alice:
        assert as_alice.invoke(CALLER, {})["arn"].endswith(":user/alice"), "the program proves its key this way"
    assert not connection.invoke(CALLER, {})["arn"].endswith(":user/alice"), "the others keep the sandbox's key"


def test_the_keys_and_profiles_of_the_stacks_config_are_ignored(connection: Connection) -> None:
    connection.make(USER, {"name": "bob"})
    key = connection.make(KEY, {"user": "bob"})
    settings = {
        "region": "us-east-1",
        "accessKey": key.id,
        "secretKey": key.outputs["secret"].value,
        "profile": "prod",
        "endpoints": json.dumps([{"iam": "https://iam.amazonaws.com"}]),
    }
    with connected(connection.port, "default_7_51_1", **settings) as default:
        assert not default.invoke(CALLER, {})["arn"].endswith(":user/bob"), "the sandbox's own key must sign"
        assert default.make(USER, {"name": "isolated"}).outputs["arn"] == "arn:aws:iam::123456789012:user/isolated"


# ---- isolation


def test_nothing_of_the_machines_aws_settings_is_used(
    strict: Strict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile prod]\nregion = eu-west-3\nendpoint_url = http://127.0.0.1:9\n"
        "max_attempts = 99\n[default]\nregion = eu-west-3\ns3 =\n  addressing_style = virtual\n"
    )
    for name, value in {
        "AWS_PROFILE": "no-such-profile",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_IAM": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "AKIAREALREALREALREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_REGION": "eu-west-3",
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_CA_BUNDLE": "/no/such/bundle",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_MAX_ATTEMPTS": "0",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "",
        "no_proxy": "",
    }.items():
        monkeypatch.setenv(name, value)
    server = serve(strict.url, ROOT, region="us-west-2")
    # gRPC of the test's own side must not go through the proxy either.
    monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")
    try:
        with connected(server.port) as connection:
            assert connection.invoke(REGION, {})["region"] == "us-west-2", "serve's region holds where none is given"
            assert connection.invoke(CALLER, {})["accountId"] == "123456789012"
            made: list[Any] = [
                connection.make(USER, {"name": "inside"}),
                connection.make(BUCKET, {"bucket": "inside-bucket"}),
            ]
            for one in made:
                one.delete()
    finally:
        server.stop()


def test_a_taken_port_is_an_error_and_not_shared(connection: Connection, strict: Strict) -> None:
    with pytest.raises(RuntimeError, match=str(connection.port)):
        serve(strict.url, ROOT, port=connection.port)


def test_a_server_that_was_stopped_gives_its_port_back(strict: Strict) -> None:
    first = serve(strict.url, ROOT)
    first.stop()
    second = serve(strict.url, ROOT, port=first.port)
    assert second.port == first.port
    second.stop()
