from datetime import date, datetime, timezone

import pytest
from aws_access_keys.clock import today


def test_the_day_is_the_current_one_unless_the_environment_names_another() -> None:
    assert today({}) == today({"ACCESS_KEYS_TODAY": ""}) == datetime.now(timezone.utc).date()
    assert today({"ACCESS_KEYS_TODAY": "2027-03-01"}) == date(2027, 3, 1)


@pytest.mark.parametrize(
    "text",
    [
        *("tomorrow", "2027-02-30", "2027-3", "2027-3-01", "20270301", "2027-W01-1", "2027-03-01T00:00:00Z"),
        *("\u0662\u0660\u0662\u0667-03-01", " 2027-03-01", "2027-03-01\n", "9999-12-31", "1999-12-31"),
    ],
)
def test_any_other_text_is_refused_with_the_format(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid date\. Use YYYY-MM-DD from 2000-01-01 to 2999-12-31"):
        today({"ACCESS_KEYS_TODAY": text})
