"""A file of texts without labels in, examples out, for a teacher to label. Knows no teacher.

A .txt file holds a text per line; a table has the task's text columns, or `text` and `text_pair`.
"""

from pathlib import Path

import numpy as np

from featherlight.data.own import texts_of
from featherlight.data.readers import READERS, read_table
from featherlight.data.tables import read_text
from featherlight.data.task import Examples, Task
from featherlight.errors import UserError, listed


def load_unlabelled(path: Path, task: Task) -> Examples:
    """The rows of a file as examples without labels; blank ones are left out. UserError for what is wrong with it."""
    if path.suffix.lower() in READERS:
        table = read_table(path)
        usual = ("text", "text_pair")[: len(task.texts)]
        names = next((names for names in (task.texts, usual) if set(names) <= set(table.columns)), None)
        if names is None:
            wanted = " and ".join(f"`{name}`" for name in task.texts)
            raise UserError(f"{path}: no column(s) {wanted}. It has: {listed(table.columns)}. Rename them.")
        columns = [texts_of(table, name) for name in names]
    elif task.is_pair:
        raise UserError(f"{path}: task {task.name} reads two texts. Give a table ({', '.join(READERS)}) with both.")
    elif path.suffix.lower() != ".txt":
        raise UserError(f"{path}: unknown kind of file. Use .txt (a text per line) or one of {', '.join(READERS)}.")
    else:
        columns = [[line.rstrip("\r") for line in read_text(path).split("\n")]]
    rows = [row for row, texts in enumerate(zip(*columns, strict=True)) if all(text.strip() for text in texts)]
    if not rows:
        raise UserError(f"{path}: every text is blank. Give a file with texts.")
    first, *second = ([column[row] for row in rows] for column in columns)
    return Examples(first, second[0] if second else None, None, np.array(rows, dtype=np.int64))
