"""Whatever a user calls something, it is text in the page."""

from __future__ import annotations

import html
import re

import pytest

from hmnas_tf.reporting.elements import Html, code, element, escaped, joined, scrolling, table


@pytest.mark.parametrize(
    "text, expected",
    [
        ("<b>", "&lt;b&gt;"),
        ("a & b", "a &amp; b"),
        ('"', "&quot;"),
        ("'", "&#x27;"),
        ("a\0b\nc", "a�b�c"),
        ("\udcff", "�"),
        (3, "3"),
        (Html("<b>"), "<b>"),
    ],
)
def test_text_is_escaped_and_html_is_not(text, expected):
    assert escaped(text) == expected
    assert escaped(text).encode("utf-8")


def test_content_and_attributes_are_escaped():
    made = element(
        "a", "<i>", element("b", "x"), href='"><script>', class_="c", aria_label="l", hidden=True, id=None
    )
    assert made == (
        '<a href="&quot;&gt;&lt;script&gt;" class="c" aria-label="l" hidden>&lt;i&gt;<b>x</b></a>'
    )


def test_html_in_an_attribute_is_only_text():
    assert element("p", title=Html('"')) == '<p title="&quot;"></p>'


def test_an_element_without_content_has_no_end():
    assert element("img", src="a") == '<img src="a">'


def test_joining_escapes_what_is_no_html():
    assert joined("<", Html("<br>"), 1) == "&lt;<br>1"
    assert isinstance(joined(), Html)


def test_a_table_names_its_rows_and_columns():
    made = table("Of <all>", ("Name", "Number"), [("<a>", 1), ("b", 2)])
    assert "<caption>Of &lt;all&gt;</caption>" in made
    assert made.count('<th scope="col"') == 2
    assert made.count('<th scope="row">') == 2
    assert '<td class="number">1</td>' in made
    assert 'tabindex="0"' in made


def test_words_may_fill_several_columns():
    assert table("", ("a", "b", "c"), [("x", "y", "z")], words=3).count("<td>") == 2


def test_a_command_is_shown_as_it_is_typed():
    command = """one & "two three"'$4 '\"'\"'5' --six='7  8'"""
    words = re.findall("<span>(.*?)</span>", code(command))
    assert html.unescape(" ".join(words)) == command
    assert html.unescape(words[2]) == "\"two three\"'$4 '\"'\"'5'", "what is quoted is not broken"
    assert re.sub("</?span>", "", code(command)).count(html.escape(command)) == 1


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name():
    assert scrolling('a "b"', Html("")) == (
        '<div class="scroll" role="region" aria-label="a &quot;b&quot;" tabindex="0"></div>'
    )
