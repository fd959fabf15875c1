"""Serve a real udata, the software of data.gouv.fr, on the loopback interface.

Runs in the virtual environment of ``requirements.txt`` beside it, started by
``tests/portals.py``. No MongoDB, Redis, Elasticsearch or network: SecantusDB answers in
MongoDB's protocol from this process, tasks run at once, nothing is cached. Prints one line,
``READY`` and a JSON object, when it listens; ends when its standard input ends.

With ``--database PORT`` it serves the data of another such server, which has to outlive it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
#: Who is a member of which organization, and as what.
ORGANIZATIONS = {
    "Ville de Testville": {"owner": "admin", "editor": "editor", "partial": "partial_editor"},
    "Autre organisation": {"outsider": "admin"},
}
#: The licences that matter here; data.gouv.fr has more.
LICENCES = {
    "notspecified": "Licence non spécifiée",
    "fr-lo": "Licence Ouverte / Open Licence",
    "lov2": "Licence Ouverte / Open Licence version 2.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the uploaded files")
    parser.add_argument("--database", type=int, metavar="PORT")
    parser.add_argument("--set", type=json.loads, default={}, metavar="JSON", help="settings")
    asked = parser.parse_args()
    listening = socket.create_server((LOOPBACK, 0))
    bridge_the_gaps_of_secantus()
    with database(asked.database) as port:
        address = f"{LOOPBACK}:{listening.getsockname()[1]}"
        app = make_app(address, port, asked.folder, asked.set)
        seeded = {} if asked.database else seed(app)
        serve(app, listening, {"url": f"http://{address}/api/1", "database": port, **seeded})


def bridge_the_gaps_of_secantus() -> None:
    """What SecantusDB 0.7.0b3 lacks and udata uses, before udata is imported."""
    from bson.dbref import DBRef
    from mongoengine.fields import StringField
    from pymongo.collection import Collection

    # It walks the documents that an index holds, and takes a reference for one.
    DBRef.items = lambda reference: reference.as_doc().items()

    # It has no text indexes; only `?q=` on lists of api/1 needs them.
    create_index = Collection.create_index

    def create_other_index(self: Any, keys: Any, *args: Any, **options: Any) -> str:
        if not isinstance(keys, str) and "text" in dict(keys).values():
            return "no text index"
        return create_index(self, keys, *args, **options)

    Collection.create_index = create_other_index

    # Compiled patterns find nothing in an indexed field; the operator does.
    prepare = StringField.prepare_query_value

    def prepare_with_operator(self: Any, operator: Any, value: Any) -> Any:
        prepared = prepare(self, operator, value)
        if isinstance(prepared, re.Pattern):
            case = "i" if prepared.flags & re.IGNORECASE else ""
            return {"$regex": prepared.pattern, "$options": case}
        return prepared

    StringField.prepare_query_value = prepare_with_operator


@contextmanager
def database(port: int | None) -> Iterator[int]:
    """The port of the database: that of another process, or of one that lives here."""
    if port is not None:
        yield port
        return
    from secantus import SecantusDBServer

    with SecantusDBServer(storage_path=":memory:") as server:
        yield server.address[1]


def make_app(address: str, database_port: int, folder: Path, further: dict[str, Any]) -> Any:
    """The WSGI application of udata, with its API, for this machine alone."""
    os.environ["UDATA_SETTINGS"] = os.devnull
    from udata.app import create_app, standalone

    settings = {
        "SERVER_NAME": address,
        "PREFERRED_URL_SCHEME": "http",
        "MONGODB_HOST": f"mongodb://{LOOPBACK}:{database_port}/udata",
        "FS_ROOT": str(folder),
        "SECRET_KEY": "for tests only",
        "API_TOKEN_SECRET": "for tests only",
        "SECURITY_PASSWORD_SALT": "for tests only",
        # A browser's cookie for https alone would hide a client that keeps cookies.
        "SESSION_COOKIE_SECURE": False,
        # Files lie on this server, and their addresses have to be valid ones; others are
        # judged without a name server.
        "URLS_ALLOW_LOCAL": True,
        "URLS_RESOLVE_HOSTNAME": False,
        "CELERY_TASK_ALWAYS_EAGER": True,
        "CACHE_TYPE": "flask_caching.backends.NullCache",
        "CACHE_NO_NULL_WARNING": True,
        "SEND_MAIL": False,
        "SCHEMA_CATALOG_URL": None,
        "DEFAULT_LANGUAGE": "fr",
        **further,
    }
    return standalone(create_app(override=type("Settings", (), settings)))


def seed(app: Any) -> dict[str, Any]:
    """Licences, users with a key each, organizations; what of it a client needs to know."""
    with app.test_request_context():
        from udata.core.api_token.models import ApiToken
        from udata.core.organization.models import Member
        from udata.models import License, Organization, datastore

        for identifier, title in LICENCES.items():
            License.objects.create(id=identifier, title=title)
        now = datetime.now(UTC)
        members = [name for roles in ORGANIZATIONS.values() for name in roles]
        users = {
            name: datastore.create_user(
                email=f"{name}@example.org",
                first_name=name.title(),
                last_name="Test",
                confirmed_at=now,
                active=name != "inactive",
            )
            for name in ("sysadmin", "inactive", *members)
        }
        datastore.add_role_to_user(users["sysadmin"], datastore.find_or_create_role("admin"))
        organizations = [
            Organization.objects.create(
                name=name,
                description="Pour les essais",
                members=[Member(user=users[member], role=role) for member, role in roles.items()],
            )
            for name, roles in ORGANIZATIONS.items()
        ]
        keys = {name: ApiToken.generate(user)[1] for name, user in users.items()}
        revoked, keys["revoked"] = ApiToken.generate(users["owner"])
        revoked.revoke()
        yesterday = now - timedelta(days=1)
        keys["expired"] = ApiToken.generate(users["owner"], expires_at=yesterday)[1]
        first, second = (str(organization.id) for organization in organizations)
        return {"keys": keys, "organization": first, "other_organization": second}


def serve(app: Any, listening: socket.socket, ready: dict[str, Any]) -> None:
    """Answer until standard input ends: also when the tests were killed."""
    from waitress import create_server

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = create_server(app, sockets=[listening], threads=8)
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    print("READY", json.dumps(ready), flush=True)
    server.run()


if __name__ == "__main__":
    main()
