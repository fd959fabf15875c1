"""A server of Google Cloud Storage: the emulator, and the condition that it does not know.

    python gcs_server.py PORT

The service's documentation: with ``ifGenerationMatch=0`` an upload "succeeds only if there are
no live versions of the object", else it answers 412.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server


def conditional(upload: Callable[..., Any]) -> Callable[..., Any]:
    """An upload that honours the condition; the server answers one request at a time."""

    def handle(request: Any, response: Any, storage: Any) -> Any:
        data = request.data
        name = (data.get("meta") or data).get("name")
        if request.query.get("ifGenerationMatch") == ["0"]:
            try:
                storage.get_file_obj(request.params["bucket_name"], name)
            except NotFound:
                pass
            else:
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                return None
        return upload(request, response, storage)

    return handle


if __name__ == "__main__":
    objects._multipart_upload = conditional(objects._multipart_upload)
    objects._create_resumable_upload = conditional(objects._create_resumable_upload)
    create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()
