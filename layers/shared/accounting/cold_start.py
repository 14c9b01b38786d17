"""Makes the import of a Lambda function faster. Every function with routes imports this module first.

Garbage collection is off during the import: it would find no garbage, and take a twelfth of the processor time.

Powertools and pydantic import modules that no request needs. This module delays such an import until code uses the
imported module. Without the delay, Powertools would import asyncio, and 47 of its own modules for kinds of events that
the service never gets. These imports take a tenth of the processor time. And pydantic would import importlib.metadata
to look for plugins, although plugins are switched off.
"""

import gc
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

import aws_lambda_powertools.utilities  # noqa: F401 - the parents of the packages below

EVENT_HANDLER = "aws_lambda_powertools.event_handler"
DATA_CLASSES = "aws_lambda_powertools.utilities.data_classes"
METADATA = "importlib.metadata"


class _Package(ModuleType):
    """A package whose ``__init__.py`` runs at the first use of a name that the package does not have yet.

    ``importlib.util.LazyLoader`` does not help: with it, importing a module of the package runs ``__init__.py``.
    """

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # it is an ordinary package from now on
        spec.loader.exec_module(self)
        return getattr(self, name)


def _without_init(name: str) -> ModuleType:
    """Import a package without running its ``__init__.py``. The package's parent must already be imported."""
    parent, _, last = name.rpartition(".")
    spec = PathFinder.find_spec(name, sys.modules[parent].__path__)
    if spec is None:
        raise ModuleNotFoundError(name)
    package = module_from_spec(spec)
    package.__class__ = _Package
    sys.modules[name] = package
    setattr(sys.modules[parent], last, package)
    return package


def _import_event_handler() -> None:
    """Import ``APIGatewayRestResolver``, which routes requests to their handlers.

    ``event_handler`` and ``data_classes`` get only the names that Powertools' routing and our modules import.
    """
    events = _without_init(DATA_CLASSES)
    from aws_lambda_powertools.utilities.data_classes.alb_event import ALBEvent
    from aws_lambda_powertools.utilities.data_classes.api_gateway_proxy_event import (
        APIGatewayProxyEvent,
        APIGatewayProxyEventV2,
    )
    from aws_lambda_powertools.utilities.data_classes.bedrock_agent_event import BedrockAgentEvent
    from aws_lambda_powertools.utilities.data_classes.lambda_function_url_event import LambdaFunctionUrlEvent
    from aws_lambda_powertools.utilities.data_classes.vpc_lattice import VPCLatticeEvent, VPCLatticeEventV2

    vars(events).update(
        ALBEvent=ALBEvent,
        APIGatewayProxyEvent=APIGatewayProxyEvent,
        APIGatewayProxyEventV2=APIGatewayProxyEventV2,
        BedrockAgentEvent=BedrockAgentEvent,
        LambdaFunctionUrlEvent=LambdaFunctionUrlEvent,
        VPCLatticeEvent=VPCLatticeEvent,
        VPCLatticeEventV2=VPCLatticeEventV2,
    )
    handler = _without_init(EVENT_HANDLER)
    import aws_lambda_powertools.event_handler.content_types as content_types  # noqa: PLR0402 - "from" runs __init__
    from aws_lambda_powertools.event_handler.api_gateway import ApiGatewayResolver, APIGatewayRestResolver, Response

    vars(handler).update(
        ApiGatewayResolver=ApiGatewayResolver,
        APIGatewayRestResolver=APIGatewayRestResolver,
        Response=Response,
        content_types=content_types,
    )


def end() -> None:
    """Turn garbage collection on. It skips the objects that the import made, because the process always needs them."""
    gc.freeze()
    gc.enable()


gc.disable()
if METADATA not in sys.modules:
    _without_init(METADATA)
if not {EVENT_HANDLER, DATA_CLASSES} & sys.modules.keys():
    _import_event_handler()
