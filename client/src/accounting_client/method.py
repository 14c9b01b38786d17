"""Makes a client's methods of the routes' functions: same parameters, same types, same documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

M = TypeVar("M", bound=Callable[..., Any])


def described(method: M, route: Callable[..., Any], result: str) -> M:
    """``method``, to ``help`` and to editors what ``route`` is, but with ``self`` and its result: ``result`` of T.

    The route's own result is a ``Call[T]`` or a ``Listing[T]``.
    """
    of = str(inspect.signature(route).return_annotation).partition("[")[2][:-1]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(route)
    method.__name__ = method.__qualname__ = route.__name__
    method.__doc__ = route.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *signature.parameters.values()], return_annotation=result.format(of)
    )
    return method
