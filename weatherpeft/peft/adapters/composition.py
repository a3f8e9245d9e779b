"""Which methods can be trained together; light, so that a configuration is refused before any job starts."""

from collections.abc import Sequence
from typing import TypeVar

from weatherpeft.interfaces import PeftMethod

Methods = TypeVar("Methods", bound=Sequence[PeftMethod])


def composed(methods: Methods) -> Methods:
    """Check that a list of methods can be attached to one model, in its order.

    Returns:
        The list.

    Raises:
        ValueError: a method that freezes encoder or decoder is not alone, a method that works on what the
            others leave frozen is not the last one, or one before it takes a part of the backbone that it
            needs. The message names the methods.
    """
    names = ", ".join(method.name for method in methods)
    for method in methods:
        if method.frozen_ends and len(methods) > 1:
            raise ValueError(
                f"{method.name} freezes {' and '.join(method.frozen_ends)}, which other methods train: "
                f"expected it alone, found {names}"
            )
    for method in methods[:-1]:
        if method.takes_the_rest:
            raise ValueError(
                f"{method.name} works on what the others leave frozen: put it last, found {names}"
            )
    taken: dict[str, str] = {}
    for method in methods:
        for part, needed in method.takes.items():
            if needed and part in taken:
                raise ValueError(
                    f"{method.name} needs the backbone's {part}, which {taken[part]} takes before it: "
                    f"expected one of the two, found {names}"
                )
            taken.setdefault(part, method.name)
    return methods
