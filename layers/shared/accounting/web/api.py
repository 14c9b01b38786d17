"""The routes of a Lambda function, and the one table from error codes to HTTP statuses."""

import json
import time
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, Unpack
from urllib.parse import quote

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response, content_types
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from accounting import cold_start
from accounting.domain.errors import AccountingError, Contention, RouteNotFound
from accounting.store.table import create_client_for_snapshot, for_a_request
from accounting.store.users import Reference
from accounting.telemetry import count, flush, logger
from accounting.times import clock
from accounting.web.access import WITHOUT_CALLER
from accounting.web.accounts import Account
from accounting.web.bodies import body_text, lenient_json, strict_json
from accounting.web.caller import Caller, caller_of
from accounting.web.headers import headers, is_read
from accounting.web.on_behalf import HEADER as ON_BEHALF_OF
from accounting.web.problems import MAX_NAMED, invalid, text_of_error, unknown
from accounting.web.route import Declared, Route
from accounting.web.types import ReportModel

STATUSES = {
    "VALIDATION_ERROR": HTTPStatus.BAD_REQUEST,
    "MODEL_UNKNOWN": HTTPStatus.BAD_REQUEST,
    "TOKEN_REQUIRED": HTTPStatus.UNAUTHORIZED,
    "TOKEN_EXPIRED": HTTPStatus.UNAUTHORIZED,
    "TOKEN_INVALID": HTTPStatus.UNAUTHORIZED,
    "TOKEN_TYPE_INVALID": HTTPStatus.UNAUTHORIZED,
    "API_KEY_INVALID": HTTPStatus.UNAUTHORIZED,
    "SERVICE_CREDENTIAL_INVALID": HTTPStatus.UNAUTHORIZED,
    "INSUFFICIENT_CREDITS": HTTPStatus.PAYMENT_REQUIRED,
    "BUDGET_EXCEEDED": HTTPStatus.PAYMENT_REQUIRED,
    "FORBIDDEN": HTTPStatus.FORBIDDEN,
    "RIGHT_MISSING": HTTPStatus.FORBIDDEN,
    "USER_DISABLED": HTTPStatus.FORBIDDEN,
    "USER_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "ACCOUNT_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "MEMBER_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "SESSION_NOT_ACTIVE": HTTPStatus.NOT_FOUND,
    "API_KEY_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "SERVICE_CREDENTIAL_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "PRICE_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "ROUTE_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "BUDGET_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "RUN_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "RUN_EXISTS": HTTPStatus.CONFLICT,
    "RUN_ENDED": HTTPStatus.CONFLICT,
    "TOO_MANY_BUDGETS": HTTPStatus.CONFLICT,
    "SESSION_EXISTS": HTTPStatus.CONFLICT,
    "SESSION_ENDED": HTTPStatus.CONFLICT,
    "PRICE_EXISTS": HTTPStatus.CONFLICT,
    "PRICE_BEGUN": HTTPStatus.CONFLICT,
    "PRICE_ENDED": HTTPStatus.CONFLICT,
    "USER_ERASED": HTTPStatus.CONFLICT,
    "LAST_OWNER": HTTPStatus.CONFLICT,
    "TOO_MANY_MEMBERS": HTTPStatus.CONFLICT,
    "ORGANIZATION_CLOSED": HTTPStatus.CONFLICT,
    "IDEMPOTENCY_CONFLICT": HTTPStatus.CONFLICT,
    "TOO_MANY_ALLOCATIONS": HTTPStatus.CONFLICT,
    "TOO_MANY_API_KEYS": HTTPStatus.CONFLICT,
    "TOO_MANY_SERVICE_CREDENTIALS": HTTPStatus.CONFLICT,
    "PAYLOAD_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "INTERNAL_ERROR": HTTPStatus.INTERNAL_SERVER_ERROR,
    "CONTENTION": HTTPStatus.SERVICE_UNAVAILABLE,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of every error code. Nothing else chooses a status."""

_EXTRA_HEADERS = "extra_headers"


class Api:
    """The routes of a Lambda function: JSON in, JSON out, one form of errors, one log line for each request.

    A decorator registers a route and declares its rules. The handler runs only for requests that satisfy them.
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self._reports: set[Callable[..., Any]] = set()
        self.resolver = APIGatewayRestResolver(enable_validation=True, json_body_deserializer=self._read_body)
        self.resolver.use([_with_headers])
        self.resolver.exception_handler(AccountingError)(self._refused)
        self.resolver.exception_handler([RequestValidationError, ValidationError])(self._invalid)
        self.resolver.exception_handler(NotFoundError)(self._unknown_route)
        self.resolver.exception_handler(Exception)(self._failed)

    def get[F: Callable[..., Any]](self, rule: str, **declared: Unpack[Declared]) -> Callable[[F], F]:
        return self._register("GET", rule, declared)

    def post[F: Callable[..., Any]](self, rule: str, **declared: Unpack[Declared]) -> Callable[[F], F]:
        return self._register("POST", rule, declared)

    def put[F: Callable[..., Any]](self, rule: str, **declared: Unpack[Declared]) -> Callable[[F], F]:
        return self._register("PUT", rule, declared)

    def delete[F: Callable[..., Any]](self, rule: str, **declared: Unpack[Declared]) -> Callable[[F], F]:
        return self._register("DELETE", rule, declared)

    def resolve(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer the request.

        A body is read as JSON whatever its content type says, because curl's default is the content type of a form. API
        Gateway decodes the path's parameters. Here they are quoted again, so that an id may contain a slash. Powertools
        gets only the headers that the service reads, because it copies all headers nine times for each request.
        """
        kinds = ("headers", "multiValueHeaders")
        sent = {
            kind: {name: value for name, value in (event.get(kind) or {}).items() if is_read(name)} for kind in kinds
        }
        plain = {**sent, "path": _quoted_path(event), "body": body_text(event), "isBase64Encoded": False}
        return self.resolver.resolve({**event, **plain}, context)

    @property
    def event(self) -> APIGatewayProxyEvent:
        """The current request."""
        return self.resolver.current_event

    @property
    def route(self) -> Route:
        """The route of the current request."""
        route: Route = self.resolver.context["route"]
        return route

    @property
    def caller(self) -> Caller:
        """The sender of the current request."""
        caller: Caller = self.resolver.context["caller"]
        return caller

    @property
    def subject(self) -> Reference:
        """The user whom the current request names, or the caller if the request names no user."""
        subject: Reference = self.resolver.context["subject"]
        return subject

    @property
    def account(self) -> Account:
        """The account that the current request is about. Raises LookupError if the route takes none."""
        account: Account | None = self.resolver.context["account"]
        if account is None:
            raise LookupError(f"{self.route.rule} declares no account")
        return account

    def ignored(self, body: BaseModel) -> list[str] | None:
        """The first ``MAX_NAMED`` unknown names in the body and the query, or None."""
        names = {*(body.model_extra or {}), *self.route.undeclared_query(self.event)}
        return sorted(names)[:MAX_NAMED] or None

    def add_header(self, name: str, value: str) -> None:
        """Add a header to the answer to the current request."""
        self.resolver.context.setdefault(_EXTRA_HEADERS, {})[name] = value

    def _register[F: Callable[..., Any]](self, method: str, rule: str, declared: Declared) -> Callable[[F], F]:
        def register(handler: F) -> F:
            route = Route(method, rule, handler, **declared)
            summary, _, description = (handler.__doc__ or "").strip().partition("\n\n")
            guarded = self._guarded(route)
            if route.body and issubclass(route.body, ReportModel):
                self._reports.add(guarded)
            self.resolver.route(
                rule,
                method,
                summary=summary,
                description=description,
                responses=route.responses,
                tags=[route.tag],
                operation_id=route.operation_id,
                security=route.access.security,
                status_code=route.status_code,
            )(guarded)
            self.routes.append(route)
            return handler

        return register

    def _read_body(self, text: str) -> Any:
        """The body of the current request, read leniently if the route takes a ``ReportModel``, otherwise strictly."""
        is_report = self.resolver.context["_route"].func in self._reports
        return lenient_json(text) if is_report else strict_json(text)

    def _guarded(self, route: Route) -> Callable[..., Any]:
        @wraps(route.handler)
        def guarded(**arguments: Any) -> Any:
            event, context = self.event, self.resolver.context
            names = route.unknown_query(event) or route.unknown_body(event)
            if names:
                raise unknown(names)
            context["route"] = route
            if route.access.who not in WITHOUT_CALLER:
                context["caller"] = caller = self._caller()
                context["subject"] = route.access.admit(caller, event, arguments)
                context["account"] = route.access.account(caller, arguments)
            return route.handler(**arguments)

        return guarded

    def _caller(self) -> Caller:
        authorizer = self.event.request_context.get("authorizer") or {}
        return caller_of(authorizer, clock(), self.event.multi_value_headers.get(ON_BEHALF_OF) or ())

    def _refused(self, error: AccountingError) -> Response[str]:
        if isinstance(error, Contention):
            count("Contention")
        status = STATUSES[error.code]
        response = self._error(status, error.code, error.message, error.details)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = "1"
        if status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _invalid(self, error: RequestValidationError | ValidationError) -> Response[str]:
        found = error.errors()
        has_part = isinstance(error, RequestValidationError)
        problems = [
            {"field": _field_name(each["loc"], has_part=has_part), "problem": text_of_error(each)} for each in found
        ]
        return self._refused(invalid(problems))

    def _unknown_route(self, _error: NotFoundError) -> Response[str]:
        return self._refused(RouteNotFound("No such route"))

    def _failed(self, _error: Exception) -> Response[str]:
        logger.exception("request failed")
        return self._refused(AccountingError("Internal error"))

    def _error(self, status: HTTPStatus, code: str, message: str, details: dict[str, Any]) -> Response[str]:
        body = {
            "message": message,
            "code": code,
            "details": details,
            "requestId": self.event.request_context.request_id,
        }
        logger.append_keys(code=code)
        return Response(
            status_code=status,
            content_type=content_types.APPLICATION_JSON,
            body=json.dumps(body),
            headers=dict(headers()),
        )


def handler_of(api: Api) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
    """Make the Lambda handler. It answers the request, logs one line and writes the metrics.

    Call ``handler_of`` last in the module: it turns on garbage collection, which is off during the import.
    """
    create_client_for_snapshot()

    @logger.inject_lambda_context(clear_state=True)
    def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        started = time.perf_counter()
        # The alternative, ``correlation_id_path``, would run a JMESPath query for each request.
        logger.set_correlation_id(event["requestContext"]["requestId"])
        logger.remove_keys(["function_arn", "function_memory_size"])  # the log group and the template show both
        with for_a_request():
            answer = api.resolve(event, context)
        logger.info(
            "request",
            method=event["httpMethod"],
            route=event.get("resource"),
            status=answer["statusCode"],
            duration_ms=round((time.perf_counter() - started) * 1000, 1),
        )
        flush()
        return answer

    cold_start.end()
    return handler


def _quoted_path(event: Mapping[str, Any]) -> str:
    parameters = event.get("pathParameters") or {}
    path: str = event["resource"] if parameters else event["path"]
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def _with_headers(app: APIGatewayRestResolver, next_middleware: NextMiddleware) -> Response[Any]:
    response: Response[Any] = next_middleware(app)
    response.headers.update(headers())
    response.headers.update(app.context.get(_EXTRA_HEADERS, {}))
    return response


def _field_name(location: tuple[Any, ...], *, has_part: bool) -> str:
    """The field that a validation error is about. With ``has_part``, the location begins with body, path or query."""
    if not has_part:
        return ".".join(map(str, location))
    part, *steps = location
    return to_camel(str(steps[-1])) if part == "path" else ".".join(map(str, steps))
