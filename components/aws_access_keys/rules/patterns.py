"""Patterns as IAM writes them: `*` stands for any text, `?` for any character."""

from functools import lru_cache


@lru_cache(maxsize=65536)
def overlap(one: str, other: str) -> str | None:
    """A pattern for texts that both patterns match (`*` any text, `?` any character); None where they have none in
    common. `in/*`, `*/file` → `in/*/file`.
    """
    if one == other or other == "*":
        return one
    if one == "*":
        return other
    rows, columns = len(one), len(other)
    # step[i][j]: how to continue with the rest of both from there; empty where that is not possible.
    step = [[""] * (columns + 1) for _ in range(rows + 1)]
    step[rows][columns] = "end"
    for i in range(rows, -1, -1):
        for j in range(columns, -1, -1):
            mine, theirs = one[i : i + 1], other[j : j + 1]
            if mine == theirs == "*" and step[i + 1][j + 1]:
                step[i][j] = "both"
            elif theirs == "*" and mine and step[i + 1][j]:
                step[i][j] = "mine"
            elif mine == "*" and theirs and step[i][j + 1]:
                step[i][j] = "theirs"
            elif theirs == "*" and step[i][j + 1]:
                step[i][j] = "skip theirs"
            elif mine == "*" and step[i + 1][j]:
                step[i][j] = "skip mine"
            elif mine and theirs and "*" not in (mine, theirs) and (mine == theirs or "?" in (mine, theirs)):
                step[i][j] = ("theirs and mine" if mine == "?" else "both") if step[i + 1][j + 1] else ""
    if not step[0][0]:
        return None
    i = j = 0
    found: list[str] = []
    while (way := step[i][j]) != "end":
        if way in ("both", "mine"):
            found.append(one[i])
        elif way in ("theirs", "theirs and mine"):
            found.append(other[j])
        i += way in ("both", "mine", "skip mine", "theirs and mine")
        j += way in ("both", "theirs", "skip theirs", "theirs and mine")
    return "".join(found)
