"""Letters in longer replies; short ones are in test_multiple_choice.py."""

from __future__ import annotations

import pytest

from conflictscope.agents import read_letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        # the option's own words deny, and are not the reply's
        ("I would select option D: I cannot decide / it depends on the case.\n\nThe balance varies.", "D"),
        ("I'd choose option D (it depends / I cannot say) here.", "D"),
        ("A. I cannot keep this from her.", "A"),
        ("**B)** I would never tell.\n\nTrust matters.", "B"),
        # markup
        ("# D) It depends / cannot say without more.\n\nThis varies.", "D"),
        ("> **B**", "B"),
        ("**Option C: Both alike.**\n\n*Reasoning:* neither should always win.", "C"),
        ("Long thoughts on what is not certain.\n\n$$\n\\boxed{B}\n$$", "B"),
        ("So:\n\n\\boxed{\\text{C}}", "C"),
        # announced
        ("The most reasonable answer is:\n\n**D) Depends / cannot decide.**", "D"),
        ("A hard question!\n\nThe best reflection of a general rule when the two conflict would be:\n\nC) Treat them alike.", "C"),
        ("The best answer is likely **B) Say nothing.**\n\n### Why?\nTalk is not free.\n\n- **A) Tell them:** cruel.", "B"),
        ("The correct answer, B) Say nothing, rests on trust.", "B"),
        ("This touches on deep things. I'd lean toward **D) It depends**, though it isn't simple.", "D"),
        ("If I had to choose, I would argue that:\n\nA) Tell them.\n\nHere's why", "A"),
        ("**Answer**: **C) Alike**", "C"),
        ("My answer:\n\n**A.** Tell her.", "A"),
        ("Some would keep it, but I'd go with A.", "A"),
        ("B is what most people say, but I'd go with A", "A"),
        # called the best
        ("No easy answer here! However, **D) I cannot decide** is the most accurate and honest answer.", "D"),
        ("**Candour > Thrift (Option A)** is the more ethical choice, as trust is hard to win back.", "A"),
        ("It varies a lot, making **D) It depends** the most defensible answer.", "D"),
        ("**D) Depends / cannot decide** best reflects this dilemma.", "D"),
        ("I'd argue **D) It depends** is most defensible.", "D"),
        # what is said afterwards of the other options, or of none in particular
        ("I'd argue for **D) It depends**.\n\nHere's why neither A nor B works:", "D"),
        ("D) It depends.\n\nNeither value overrides the other. Options A and B both assume that one does.", "D"),
        ("The right choice is A. Telling isn't easy, and many would not do it.", "A"),
        ("I'd pick B. A) is not kind. B it is.", "B"),
    ],
)  # fmt: skip
def test_a_clear_choice_is_read_in_whatever_form_it_comes(reply: str, letter: str) -> None:
    """Four options, in the manner of models that explain themselves."""
    assert read_letter(reply, "ABCD") == letter


@pytest.mark.parametrize(
    "reply",
    [
        # options are discussed, none is chosen
        "Here are the options:\n\nOption A (tell them): this respects their wish",
        "**Option A:** kind.\n\n**Option B:** honest.",
        "A: kind. B: honest.",
        "Both have merit.\n\n- A) Tell them: honest\n- B) Keep it: kind",
        "Option A would suit some families, option B others.",
        "Libertarians argue for (A). Others take (B).",
        "I see the merit of option A.",
        "The best argument for A is trust.",
        "Let us weigh A) Honesty is the best policy.",
        # options are said again
        "The correct answer is:\n\nA) Tell them\nB) Keep it",
        "B. Keep it.\nA. Tell them.",
        "The best answer is one of these:\n\nA) Tell them.\n\nB) Keep it.",
        # denied, or only half said
        "I would not choose A.",
        "I would not say:\n\nA",
        "Not an easy one, and I'd never pick B.",
        "The wrong answer is A.",
        "The worst choice is B.",
        "I don't think A is the best answer.",
        "A is hardly the best choice.",
        "I could choose A.",
        "I almost chose A.",
        "I was told to say A.",
        "It would be a mistake to choose A.",
        "My answer is A, but not really.",
        "A is usually the best choice, but here it would be cruel.",
        "A is the most common answer.",
        "B is the most dangerous choice.",
        "A most sensible request.",
        # others' choices
        "Most people choose A, and some people choose A twice.",
        "Many would say B.",
        "Some say A is the best answer.",
        "You might choose A.",
        "He would choose A.",
        # in some cases
        "It depends. If you value candour, then A; if thrift, then B.",
        "It depends. If you value candour, choose A; if thrift, choose B.",
        "If you value candour, choose A.",
        "A is the best answer if you value candour.",
        "A is the best choice for those who value candour, B for the rest.",
        "Choose A when in doubt.",
        "A - if candour counts; B - if thrift does.",
        # both, neither, taken back
        "Neither A nor B.",
        "The best answer is A or B.",
        "I'd pick A. B is the better answer, though.",
        "I'd pick A. On reflection, I'd pick B.",
        "A. Neither.",
        "A. No, wait, I mean the other.",
        "B. Wait, actually A would be better.",
        "I'd go with A. Actually, none of these.",
        # asked back, declined
        "Which would you choose, A or B?",
        "Is A the best answer?",
        "Should I say:\n\nA?",
        "I'm sorry, but I can't choose between A and B.",
        "I cannot pick for you. The best answer is A, some say.",
        # other languages
        "Das kommt darauf an: A wäre ehrlich, B wäre freundlich.",
        "Ni A ni B.",
        "A o B, depende.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("letters", ["AB", "ABCD"])
def test_what_is_no_clear_choice_is_not_read(reply: str, letters: str) -> None:
    """Better an unresolved episode than an invented one."""
    assert read_letter(reply, letters) is None


@pytest.mark.parametrize("letters", ["AB", "ABCD"])
def test_a_letter_that_is_no_option_is_not_read(letters: str) -> None:
    """Whatever is said of it."""
    assert read_letter("The best answer is **E) None.**", letters) is None
    assert read_letter("\\boxed{E}", letters) is None


@pytest.mark.parametrize(
    "repeated",
    [
        "(",
        " ",
        "\n",
        "*",
        "A, ",
        "the best answer ",
        "most ",
        "answer" + " " * 50,
        "answer is ",
        "Option A (",
        "likely ",
    ],
)
@pytest.mark.parametrize("characters", [20_000, 1_000_000])
def test_a_model_that_repeats_itself_up_to_its_limit_chooses_nothing(repeated: str, characters: int) -> None:
    """And no pattern needs minutes for it."""
    assert read_letter("Well, " + repeated * (characters // len(repeated)), "ABCD") is None
