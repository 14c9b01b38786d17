"""A route: what its decorator declares, and what follows from its handler's annotations."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Required, TypedDict, get_args

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from accounting.web.access import SELF_OR_OTHERS, Access
from accounting.web.subject import named_user


class Declared(TypedDict, total=False):
    """The arguments of a route's decorator; see ``Route``."""

    access: Required[Access]
    codes: tuple[str, ...]
    idempotency: str
    any_query: bool
    status_code: int
    responses: dict[int, OpenAPIResponse]


@dataclass(frozen=True)
class Route:
    """A route: who may call it, and how it refuses.

    ``codes`` are the route's own error codes: those that do not follow from the other fields or the handler. If the
    route takes ``Idempotency-Key``, ``idempotency`` is the scope of these keys. A GET ignores its body and
    unknown query parameters. Any other route refuses unknown query parameters, unless ``any_query`` is true. It also
    refuses fields in the body if its handler takes no body.
    """

    method: str
    rule: str
    handler: Callable[..., Any]
    access: Access
    codes: tuple[str, ...] = ()
    idempotency: str = ""
    any_query: bool = False
    status_code: int = 200
    responses: dict[int, OpenAPIResponse] | None = None

    def __post_init__(self) -> None:
        """Raise TypeError if ``access`` says who may name another user, but the handler takes no ``user_id``.

        Without ``user_id``, every request would be about its caller, and the caller's role would never be checked.
        """
        if self.access.who in SELF_OR_OTHERS and self.access.subject is named_user and not self.names_user:
            raise TypeError(f"{self.method} {self.rule}: {self.handler.__name__} has no argument user_id")

    @property
    def names_user(self) -> bool:
        """Whether a parameter names the user that the request is about."""
        return "user_id" in self.handler.__annotations__

    @property
    def body(self) -> type[BaseModel] | None:
        """The pydantic model of the request's body, or None if the route takes no body."""
        for name, annotation in self.handler.__annotations__.items():
            for kind in (annotation, *get_args(annotation)):
                if name != "return" and isinstance(kind, type) and issubclass(kind, BaseModel):
                    return kind
        return None

    @property
    def path(self) -> str:
        """The path as API Gateway and the OpenAPI document write it, such as ``/api/users/{userId}``."""
        return re.sub(r"<(\w+)>", lambda name: f"{{{to_camel(name[1])}}}", self.rule)

    @property
    def operation_id(self) -> str:
        """The route's name in the OpenAPI document, such as ``getApiUsersUserId``."""
        words = re.findall(r"[a-zA-Z]+", self.path)
        return self.method.lower() + "".join(word[0].upper() + word[1:] for word in words)

    @property
    def tag(self) -> str:
        """The group of routes that the route belongs to."""
        return self.rule.split("/")[2]

    def unknown_body(self, event: APIGatewayProxyEvent) -> list[str]:
        """The body's fields, if the request is refused because the route takes no body. A GET ignores them.

        Raises Invalid if the body is not JSON.
        """
        if self.method == "GET" or self.body:
            return []
        return sorted(event.json_body or {})

    def unknown_query(self, event: APIGatewayProxyEvent) -> list[str]:
        """The query parameters for which a request is refused."""
        return [] if self.method == "GET" or self.any_query else self.undeclared_query(event)

    def undeclared_query(self, event: APIGatewayProxyEvent) -> list[str]:
        """The query parameters that the handler does not take."""
        if not event.query_string_parameters:
            return []
        parameters = inspect.signature(self.handler).parameters
        known = {
            each.alias or name
            for name, parameter in parameters.items()
            for each in getattr(parameter.annotation, "__metadata__", ())
            if isinstance(each, Query)
        }
        return sorted(event.query_string_parameters.keys() - known)
