"""Configurations with changes: `train__workers=4` is train.workers."""

from mcqlora.config import loading


def settings(**changes):
    """The default with changes."""
    made = {}
    for key, value in changes.items():
        *section, last = key.split("__")
        (made.setdefault(section[0], {}) if section else made)[last] = value
    return loading.load(made)


def given(**changes):
    """The same for data that is not generated."""
    ours = {"data": "folder", "tokenizer__path": "tokenizer.model", "base__text": "train"}
    return settings(**(ours | changes))


def config(**changes):
    """The same as `settings`, as rules have it."""
    return loading.namespace(settings(**changes))
