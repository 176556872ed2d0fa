"""The signs that stand at a row, a column or a cell and lead to a note below the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ssar.errors import UserError

DAGGER = "†"
"""At a row that no run fills, and at a published value where nothing can be measured."""

LETTERS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ"
"""Of flags, in the order in which they are met."""

SYMBOLS = {"yes": "✓", "no": "✗"}
"""What a stub cell is written as."""


def lettered(flags: Sequence[str]) -> dict[str, str]:
    """A letter for each flag. Raises UserError for more than there are letters."""
    if len(flags) > len(LETTERS):
        raise UserError(f"a table has at most {len(LETTERS)} flags, not {len(flags)}: {', '.join(flags)}")
    return dict(zip(flags, LETTERS, strict=False))


def marked(text: str, flags: Iterable[str], letters: Mapping[str, str]) -> str:
    """The text with the letters of its flags."""
    return text + "".join(letters[flag] for flag in flags)
