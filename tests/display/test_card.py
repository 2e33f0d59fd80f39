from html.parser import HTMLParser

from corontools.display import card


class Reader(HTMLParser):
    """Elements, their attributes and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_text_aligns_values_and_keeps_lines_of_a_value_together():
    lines = card.text("Result", [("a", "1"), ("longer", "2\n3")], ["one()", "two()"]).split("\n")
    assert lines == ["Result", "  a       1", "  longer  2", "          3", "  made by", "    one()", "    two()"]


def test_text_of_an_empty_result_is_its_title():
    assert card.text("Result", []) == "Result"


def test_text_keeps_terminal_commands_out(hostile):
    shown = card.text(hostile, [(hostile, hostile)], [hostile])
    assert "\x1b" not in shown
    assert "\x00" not in shown
    shown.encode("utf-8")


def test_html_shows_hostile_words_as_text(hostile):
    pictures = [card.Picture("data:image/png;base64,AA==", hostile, hostile), card.Picture(hostile)]
    page = card.html(hostile, [(hostile, hostile)], pictures=pictures, chain=[hostile])
    reader = Reader(page)
    assert not reader.open
    allowed = {"div", "figure", "img", "figcaption", "table", "tbody", "tr", "th", "td", "details", "summary", "pre"}
    assert set(reader.tags) <= allowed
    assert not any(name.startswith("on") for _, name, _ in reader.attributes)
    assert reader.tags.count("img") == 2
    assert "".join(reader.words).count("</script><img src=x") == 5  # title, caption, name, value, call


def test_html_styles_itself_with_what_notebooks_let_pass():
    # Of the properties that JupyterLab's sanitizer keeps in outputs that are not trusted.
    kept = {
        "background",
        "background-color",
        "border",
        "border-collapse",
        "cursor",
        "display",
        "font-family",
        "font-size",
        "font-weight",
        "height",
        "line-height",
        "margin",
        "max-width",
        "padding",
        "text-align",
        "vertical-align",
        "white-space",
        "width",
    }
    page = card.html("Result", [("a", "1")], pictures=[card.Picture("data:image/png;base64,AA==")], chain=["f()"])
    styles = [value for _, name, value in Reader(page).attributes if name == "style"]
    rules = [rule.split(":") for style in styles for rule in style.split(";")]
    assert {name for name, _ in rules} <= kept
    assert ["background", "transparent"] in rules
    assert "color" not in {name for name, _ in rules}


def test_pictures_keep_their_order_and_say_what_they_show():
    pictures = [card.Picture("data:,1", "first"), card.Picture("data:,2", "second", alt="a residual", width=300)]
    reader = Reader(card.html("Result", [], pictures=pictures))
    assert [v for tag, name, v in reader.attributes if tag == "img" and name == "alt"] == ["first", "a residual"]
    assert [v for tag, name, v in reader.attributes if tag == "img" and name == "width"] == ["240", "300"]


def test_the_chain_is_folded_and_verbatim():
    reader = Reader(card.html("Result", [], chain=["stack.align_to(target)", "     .klip(modes=50)"]))
    assert reader.tags[-3:] == ["details", "summary", "pre"]
    assert reader.words[-1] == "stack.align_to(target)\n     .klip(modes=50)"
