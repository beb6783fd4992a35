"""Putting a profile into a credentials file: what AWS's own reader finds after it, and what stays untouched."""

from collections.abc import Sequence
from configparser import Error, RawConfigParser
from difflib import SequenceMatcher
from io import StringIO
from pathlib import Path

import botocore.session
import pytest
from aws_access_keys.cli.profiles import EditResult, ProfileError, profile_name_problem, with_profile
from botocore.configloader import raw_config_parse
from hypothesis import assume, given
from hypothesis import strategies as st

KEY_ID, SECRET = "AKIANEW0000000000001", "new/secret+0000000000000000000000000000="


def put(text: str, profile: str = "x") -> EditResult:
    return with_profile(text, profile, KEY_ID, SECRET)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n", id="an empty file"),
        pytest.param(
            "[y]\naws_access_key_id = Y",
            "[y]\naws_access_key_id = Y\n\n[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n",
            id="a last line without an end",
        ),
        pytest.param(
            "# mine\r\n\r\n[y]\nregion=eu-west-1\r\n\n",
            "# mine\r\n\r\n[y]\nregion=eu-west-1\r\n\n[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n",
            id="mixed line ends, as the last line's",
        ),
        pytest.param(
            "[y]\r\nregion=eu-west-1\r\n",
            "[y]\r\nregion=eu-west-1\r\n\r\n[x]\r\naws_access_key_id = ID\r\naws_secret_access_key = SECRET\r\n",
            id="line ends of Windows",
        ),
        pytest.param(
            "[x]\r[y]\ra = b",
            "[x]\raws_access_key_id = ID\raws_secret_access_key = SECRET\r[y]\ra = b\r",
            id="line ends of long ago",
        ),
        pytest.param(
            "[x]\naws_access_key_id=OLD\naws_secret_access_key=OLDSECRET\naws_session_token=T\nregion=eu-west-1\n[y]\na=b\n",
            "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\nregion=eu-west-1\n[y]\na=b\n",
            id="a temporary key, replaced with its token",
        ),
        pytest.param(
            "[x]\n# the robot\nregion = a\nAWS_Access_Key_ID :  OLD  \r\nrole_arn = r\naws_secret_access_key=O",
            "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n# the robot\nregion = a\nrole_arn = r\n",
            id="comments, other settings, spelling and spaces",
        ),
        pytest.param(
            "[x]\n[y]\naws_access_key_id = Y\n",
            "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n[y]\naws_access_key_id = Y\n",
            id="an empty profile",
        ),
        pytest.param("[x]", "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n", id="a bare header"),
        pytest.param(
            "[x]\n  region = eu-west-1\n  s3 =\n    max_queue_size = 1\n",
            "[x]\n  aws_access_key_id = ID\n  aws_secret_access_key = SECRET\n"
            "  region = eu-west-1\n  s3 =\n    max_queue_size = 1\n",
            id="settings further in, and nested ones",
        ),
        pytest.param(
            "[x]\naws_access_key_id = OLD\n  more\n# kept\n  of it\naws_secret_access_key =\n  OLDSECRET\n",
            "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n# kept\n",
            id="values on lines of their own",
        ),
        pytest.param(
            "[y]\nnote = a\n  [x]\n  aws_access_key_id = Y\n",
            "[y]\nnote = a\n  [x]\n  aws_access_key_id = Y\n\n"
            "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n",
            id="what only looks like the profile",
        ),
        pytest.param(
            "[x y]\naws_access_key_id = A\n[profile x]\naws_access_key_id = B\n[X]\naws_access_key_id = C\n",
            "[x y]\naws_access_key_id = A\n[profile x]\naws_access_key_id = B\n[X]\naws_access_key_id = C\n\n"
            "[x]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n",
            id="names that are nearly the same",
        ),
    ],
)
def test_only_the_lines_of_the_key_change(before: str, after: str) -> None:
    assert put(before).text == after.replace("ID\n", f"{KEY_ID}\n").replace("ID\r", f"{KEY_ID}\r").replace(
        "= SECRET", f"= {SECRET}"
    )


@pytest.mark.parametrize(
    ("before", "is_new", "replaced", "overriding"),
    [
        ("[y]\naws_access_key_id = Y\n", True, None, ()),
        ("[x]\nregion = eu-west-1\n", False, None, ()),
        ("[x]\naws_secret_access_key = s\n", False, "", ()),
        ("[x]\naws_access_key_id = OLD\nrole_arn = r\nsource_profile = x\n", False, "OLD", ("role_arn",)),
        ("[x]\nsso_session = s\nsso_start_url = u\n", False, None, ("sso_session", "sso_start_url")),
    ],
)
def test_the_result_tells_what_the_profile_was_before(
    before: str, is_new: bool, replaced: str | None, overriding: Sequence[str]
) -> None:
    assert put(before)[1:] == (is_new, replaced, overriding)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[y]\na = b\n[y]\n", "line 3 begins profile 'y' a second time"),
        (
            "[x]\naws_access_key_id = A\nAWS_ACCESS_KEY_ID = B\n",
            "line 3 sets aws_access_key_id of profile 'x' a second",
        ),
        ("secretsecret\n[x]\n", "line 1 comes before the first profile"),
        ("\ufeff[x]\n", "it begins with a byte order mark"),
        ("[x]\nsecretsecret\n", "line 2 is neither a profile's name, nor a setting, nor a comment"),
        ("[DEFAULT]\naws_session_token = secretsecret\n", "[DEFAULT] sets aws_session_token for every profile"),
    ],
)
def test_a_file_that_aws_cannot_read_is_refused_without_a_word_of_it(text: str, says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        put(text)
    assert says in str(caught.value)
    assert "secretsecret" not in str(caught.value), "a line may be a secret"


@pytest.mark.parametrize("name", ["x", "default", "a.b-c_d@e", "team/robot", "a+b=c,d", "1", "%", "x:y"])
def test_names_that_aws_takes_are_taken(name: str) -> None:
    assert profile_name_problem(name) is None
    parser = RawConfigParser()
    parser.read_string(put("[other]\na = b\n", name).text)
    assert parser[name]["aws_access_key_id"] == KEY_ID


@pytest.mark.parametrize(
    "name", ["", "a]b", "[", "a\nb", "a\r", "a b", " a", "a\t", "#a", "a;b", "ü", "a\x00", "DEFAULT"]
)
def test_other_names_are_refused(name: str) -> None:
    assert profile_name_problem(name)
    with pytest.raises(ProfileError):
        put("", name)


LINES = st.tuples(
    st.sampled_from(["", "", "", " ", "    ", "\t"]),
    st.sampled_from(
        [
            *("[x]", "[y]", "[z] # note", "[DEFAULT]", "", "# comment", "; comment", "# aws_access_key_id = no"),
            *(
                "aws_access_key_id = OLD",
                "AWS_ACCESS_KEY_ID:OLD",
                "aws_secret_access_key=old",
                "aws_secret_access_key =",
            ),
            *("aws_session_token = t", "aws_security_token=t", "region = eu-west-1", "role_arn=arn:aws:iam::1:role/r"),
            *("s3 =", "max_queue_size = 1", "é = ü", "a=b=c:d", "x = [x]", "credential_process = a [y]"),
        ]
    ),
    st.sampled_from(["", "", " ", "\t"]),
    st.sampled_from(["\n", "\n", "\r\n"]),
).map("".join)
FILES = st.lists(LINES, max_size=14).map("".join) | st.lists(LINES, max_size=14).map("".join).map(str.rstrip)
OURS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_security_token")


def read(text: str) -> dict[str, dict[str, str]]:
    parser = RawConfigParser()
    parser.read_file(StringIO(text, newline=None))
    return {"DEFAULT": dict(parser.defaults()), **{name: dict(parser.items(name)) for name in parser.sections()}}


@given(text=FILES, profile=st.sampled_from(["x", "y", "z", "w"]))
def test_whatever_the_file_holds_the_rest_of_it_stays(text: str, profile: str) -> None:
    try:
        before = read(text)
    except Error:
        with pytest.raises(ProfileError):
            put(text, profile)
        return
    assume(not set(before["DEFAULT"]) & set(OURS[2:]))
    edited = put(text, profile)
    after = read(edited.text)

    assert after[profile]["aws_access_key_id"] == KEY_ID
    assert after[profile]["aws_secret_access_key"] == SECRET
    assert not set(after[profile]) & set(OURS[2:]), "no token is left beside the key"
    rest = {name: value for name, value in before.get(profile, before["DEFAULT"]).items() if name not in OURS}
    assert {name: value for name, value in after.pop(profile).items() if name not in OURS} == rest
    before.pop(profile, None)
    assert after == before, "the other profiles are read as before"
    assert list(after) == list(before), "and in the same order"

    assert put(edited.text, profile).text == edited.text, "a second time changes nothing"
    other = with_profile(edited.text, profile, "AKIAOTHER", "other")
    assert put(other.text, profile).text == edited.text, "there and back is where it was"

    old, new = (list(StringIO(both, newline="")) for both in (text, edited.text))
    if old and not old[-1].endswith(("\n", "\r")):
        old[-1] += "\r\n" if any(line.endswith("\r\n") for line in old[-2:-1]) else "\n"
    gone, added = changes(old, new)
    assert not [line for line in added if not is_ours(line, profile)], "only the key's own lines are new"
    if profile not in before and edited.is_new:
        assert not gone, "a new profile takes nothing away"


def changes(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    gone: list[str] = []
    added: list[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += old[a:b]
            added += new[c:d]
    for line in list(added):  # a line that the matcher took out and put in again has not changed
        if line in gone:
            gone.remove(line)
            added.remove(line)
    return gone, added


def is_ours(line: str, profile: str) -> bool:
    return KEY_ID in line or SECRET in line or line.strip() in ("", f"[{profile}]")


def test_aws_itself_reads_the_profile(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    default = "[default]\naws_access_key_id = D\naws_secret_access_key = d\n"
    file.write_text(put(f"{default}[x]\naws_session_token = old\nregion = eu-west-1\n").text)
    session = botocore.session.Session(profile="x")
    session.set_config_variable("credentials_file", str(file))
    session.set_config_variable("config_file", str(tmp_path / "none"))
    found = session.get_credentials()
    assert found is not None
    assert (found.access_key, found.secret_key, found.token) == (KEY_ID, SECRET, None)
    assert raw_config_parse(str(file))["default"]["aws_access_key_id"] == "D"
