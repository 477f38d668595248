"""Page handlers: the files of the dashboard over HTTP.

Guarantees: they need no token, since they tell nothing of the engine; a file that has not changed is a 304.
Does not: serve anything that is not in the package.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get

from headrace.control.dashboard import page_files, page_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar.handlers import HTTPRouteHandler

    from headrace.control.dashboard import PageFile

__all__ = ["page_handlers"]


def page_handlers(engines: Sequence[str]) -> list[HTTPRouteHandler]:
    """Return a handler for each file of the page. engines : origins of others that the page may ask."""
    policy = page_policy(engines)
    return [_handler(file, policy) for file in page_files().files]


def _handler(file: PageFile, policy: Mapping[str, str]) -> HTTPRouteHandler:
    headers = {**policy, "etag": file.tag}

    @get(file.path, opt={"is_open": True}, include_in_schema=False)
    async def page_file(request: Request[Any, Any, Any]) -> Response[bytes]:
        if request.headers.get("if-none-match") == file.tag:
            return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)

    return page_file
