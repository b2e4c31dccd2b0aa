"""A sheet of labels as one page that works offline.

The texts on it are hostile: they stand in the page as JSON with no `<` in it, and its script shows them by `textContent` alone.
The policy of the page lets nothing run but that very script, by its hash, and nothing be loaded or sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template

from conflictscope.annotation import Item
from conflictscope.seeds import derive
from conflictscope.sheets import heard

_FOLDER = Path(__file__).parent
_ESCAPED = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&"})


def sheet_html(items: Sequence[Item]) -> str:
    """The page, in ASCII; what people answer stays in their browser until they save it."""
    page, style, script = (
        (_FOLDER / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    policy = [
        "default-src 'none'",
        f"script-src '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return Template(page).substitute(policy="; ".join(policy), style=style, script=script, data=_data(items))


def _data(items: Sequence[Item]) -> str:
    sheet = {
        "sheet": f"{derive(*(item.id for item in items)):016x}",  # under which a browser keeps the progress
        "items": [
            {
                "id": item.id,
                "description": item.description,
                "action_1": item.action_1,
                "action_2": item.action_2,
                "transcript": [{"from": who, "text": words} for who, words in heard(item.transcript)],
            }
            for item in items
        ],
    }
    return json.dumps(sheet).translate(_ESCAPED)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
