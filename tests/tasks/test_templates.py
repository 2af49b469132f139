from pathlib import Path

import pytest
from pydantic import ValidationError

from outctl.errors import OutctlError
from outctl.tasks.shares import named_shares
from outctl.tasks.templates import Template, load_template, render, template_names

KINDS = ("given_words", "random_words", "icl_random_words", "successive_words", "suppression")
SHARES = named_shares(["ark", "atom", "oak"], [70, 20, 10])
WRITTEN = {
    "given_words_fractions": ["7/10 ark", "1/5 atom", "1/10 oak"],
    "given_words_odds": ["7 to 2 to 1 for ark against atom against oak"],
    "given_words_spelled": ["seventy percent ark", "twenty percent atom", "ten percent oak"],
    "given_words_urn": ["100 slips", "70 say ark", "20 say atom", "10 say oak"],
    "given_words_swapped": ["10% oak, 20% atom, 70% ark"],
}
"""What questions say that do not have the percentages as they are, or in their order."""
OWN = {"seed": 123456, "percents": [70, 30]}


def test_every_kind_has_a_template_of_its_name():
    assert set(KINDS) <= set(template_names())
    assert template_names() == sorted(template_names())


@pytest.mark.parametrize("name", template_names())
def test_packaged_template_renders_what_its_kind_asks(name):
    template = load_template(name)
    if name.startswith("given_words"):
        expected = WRITTEN.get(name, ["ark", "70", "atom", "20", "oak", "10"])
        variables = {"shares": SHARES}
        text_of_two = render(template.question, shares=SHARES[:2])
        assert len(text_of_two) < len(render(template.question, **variables))
        assert "oak" not in text_of_two
    elif name == "successive_words":
        expected = ["70% ark", "30% atom", "40% oak", "60% ash"]
        variables = {"first": named_shares(["ark", "atom"], [70, 30]), "second": named_shares(["oak", "ash"], [40, 60])}
    elif name == "suppression":
        expected = ["a ship", "ark", "30%"]
        variables = {"topic": "a ship", "word": "ark", "percent": 30}
        assert render(template.free, **variables) == "Name a ship, in one word."
    else:
        expected = ["123456", "70%", "30%"]
        variables = OWN
    text = render(template.question, **variables)
    assert [part for part in expected if text.count(part) != 1] == []
    assert text == text.strip()
    assert not set("{}\n") & set(text)
    if "icl" in name:
        assert render(template.answer, word="ark", **OWN) == "ark"
    else:
        assert template.answer is None


def test_default_question_for_given_words():
    text = render(load_template("given_words").question, shares=SHARES[:2])
    assert text == "Say one word: 70% ark, 20% atom"


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_template_of_a_user_is_read_from_its_path(tmp_path, suffix):
    path = tmp_path / f"mine.{suffix}"
    path.write_text("question: 'Choose {{ shares[0].word }}'\nexamples: [{user: a, assistant: b}]\n")
    template = load_template(str(path))
    assert render(template.question, shares=SHARES) == "Choose ark"
    assert [(example.user, example.assistant) for example in template.examples] == [("a", "b")]
    assert template.system is None


def test_relative_path_is_read_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "random_words.yaml").write_text("question: mine\n")
    monkeypatch.chdir(tmp_path)
    assert load_template("random_words.yaml").question == "mine"
    assert load_template("random_words").question != "mine"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("qestion: a", "qestion: unknown key; did you mean 'question'? (and 1 more)"),
        ("system: a", "question: this key is required"),
        ("question: ''", "question: String should have at least 1 character, not ''"),
        ("question: 5", "question: Input should be a valid string, not 5"),
        ("question: a\nexamples: [{user: a}]", "examples.0.assistant: this key is required"),
        (
            "question: a\nexamples: [{user: a, asistant: b, assistant: b}]",
            "examples.0.asistant: unknown key; did you mean",
        ),
        ("", "Input should be a valid dictionary"),
        ("question: [", "line 1, column 12: not valid YAML"),
    ],
)
def test_mistake_in_a_template_names_file_and_key(tmp_path, content, text):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(OutctlError) as caught:
        load_template(str(path))
    assert str(caught.value).startswith(f"{path}: {text}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("given_word", "there is no prompt template 'given_word'; did you mean 'given_words'?"),
        ("zzz", f"there is no prompt template 'zzz'; known: {', '.join(template_names())}"),
        ("absent.yaml", "absent.yaml: no such file"),
        ("../templates/given_words", "there is no prompt template"),
    ],
)
def test_unknown_template_is_named_with_the_nearest(name, text):
    with pytest.raises(OutctlError) as caught:
        load_template(name)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ sed }}", "'sed' is undefined"),
        ("{{ percents[7] }}", "has no element 7"),
        ("{{ percents[0].word }}", "has no attribute 'word'"),
        ("{% if %}", "Expected an expression"),
        ("{{ seed", "unexpected end of template"),
        ("{% for share in %}", "Expected an expression"),
        ("{{ seed | upercase }}", "No filter named 'upercase'"),
        ("{{ seed.__class__.__mro__ }}", "unsafe"),
        ("a\nb {{ sed }}", "'sed' is undefined"),
        ("{{ seed + 'x' }}", "unsupported operand"),
        ("{{ seed / 0 }}", "division by zero"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{% include 'other' %}", "loader"),
    ],
)
def test_bad_jinja_gives_one_line_with_the_text_and_the_variables(text, problem):
    with pytest.raises(OutctlError) as caught:
        render(text, **OWN)
    message = str(caught.value)
    assert message.startswith(f"prompt template {text!r}: ")
    assert problem in message
    assert message.endswith("known variables: seed, percents")
    assert "\n" not in message


def test_text_is_stripped_and_not_escaped():
    assert render(" {{ word }} \n", word="a & <b>") == "a & <b>"
    assert render("{{ a }}{{ b }}", a="{{ b }}", b="x") == "{{ b }}x"


def test_template_does_not_change():
    template = Template(question="a")
    with pytest.raises(ValidationError, match="frozen"):
        template.question = "b"


def test_packaged_templates_are_part_of_the_installed_package():
    folder = Path(load_template.__code__.co_filename).parent / "templates"
    assert template_names() == sorted(path.stem for path in folder.glob("*.yaml"))
    assert set(folder.iterdir()) == set(folder.glob("*.yaml"))
