"""Add the table of a finished suite to those that ``genjax choose`` reads.

    genjax compare --suite toy2d --out comparison
    python experiments/tools/add_table.py comparison toy2d

With ``--second``, the comparison.json of a run with other seeds, columns whose models it ranks differently are noise.
The file keeps every number with its seeds, the command that prints it, protocol, machine and trials; what can be read
from the run folders is left out. Paths are relative to the folder of the comparison.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from rank_correlation import correlations

from genjax.comparison.table import table_from_dict
from genjax.data.io import replace_file

TABLES = Path(__file__).parents[2] / "genjax" / "comparison" / "tables"
DIGITS = 6  # significant ones of a number


def table(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content of a comparison without protocols of single cells and verdicts, which follow from it."""
    parts: dict[str, Any] = {
        name: content[name]
        for name in ("command", "protocol", "machine", "rank_correlation", "columns", "entries", "trials")
        if name in content
    }
    parts["machine"] = {name: value for name, value in parts["machine"].items() if name not in ("command", "platform")}
    cells = [
        {name: value for name, value in cell.items() if name not in ("protocol", "sd") and value not in (None, [], {})}
        for cell in content["cells"]
    ]
    text = json.dumps(parts | {"cells": cells}).replace(f"{folder}/", "")
    text = re.sub(r'"[^"]*/genjax (compare|evaluate) ', r'"genjax \1 ', text)  # whatever environment it lies in
    return _short(json.loads(text))


def _short(value: Any) -> Any:
    """Return nested values with rounded numbers."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    """Write the file of a table."""
    parser = argparse.ArgumentParser(description="Add the table of a finished suite.")
    parser.add_argument("comparison", type=Path, help="folder of the comparison")
    parser.add_argument("name", help="name of the suite")
    parser.add_argument("--second", type=Path, help="comparison.json of a run with other seeds")
    options = parser.parse_args()
    content = json.loads((options.comparison / "comparison.json").read_text("utf-8"))
    if options.second is not None:
        pair = table_from_dict(content), table_from_dict(json.loads(options.second.read_text("utf-8")))
        content["rank_correlation"] = {name: value for name, (value, _) in correlations(*pair).items()}
    file = TABLES / f"{options.name}.json"
    lines = {name: json.dumps(value, ensure_ascii=False) for name, value in table(content, options.comparison).items()}
    text = ",\n".join(f"{json.dumps(name)}: {value}" for name, value in lines.items())
    replace_file(file, f"{{\n{text}\n}}\n".encode())
    print(f"wrote {file}, {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
