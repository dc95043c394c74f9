from mcqlora.report import markdown


def test_a_table_keeps_its_columns():
    lines = markdown.table(["a", "b"], [["x|y", "1"]])
    assert lines == ["| a | b |", "| --- | --- |", "| x\\|y | 1 |"]


def test_a_name_from_outside_is_text():
    said = markdown.plain("<img src=x> [a](b) `c` *d* \\ &amp; clan_trees 树")
    assert not set("<>[]`*\\") & set(said)
    assert said.startswith("&#60;img src=x&#62; ") and said.endswith("&amp;amp; clan_trees 树")
