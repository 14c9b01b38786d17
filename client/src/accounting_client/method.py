"""Gives a client's methods the names, parameters, types and documentation of the routes' functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

M = TypeVar("M", bound=Callable[..., Any])


def described(method: M, route: Callable[..., Any], result: str) -> M:
    """Return ``method`` with the documentation and the parameters of ``route``, and with ``self`` before them.

    ``result`` is a template for the type of the method's result, such as ``Iterator[{}]``. If the route returns a
    ``Call[T]`` or a ``Listing[T]``, T is filled in.
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
