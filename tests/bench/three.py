"""The three packages and nothing else: what a client made of them must cost before it does any work of its own.

    three.py plain|clean|lean CONFIG IMDS WIRESERVER

Reads a small YAML file and makes the three exchanges of a report with urllib3, parsing by defusedxml. "clean" has the
habits that cost no reader anything: no cyclic collector, and no tear-down once all is written. "lean" imports the way
azurelite does, besides: the floor for whoever uses these packages.
"""

import contextlib
import gc
import sys

importing: "contextlib.AbstractContextManager[None]" = contextlib.nullcontext()
if sys.argv[1] == "lean":
    from azurelite.cli.startup import lean_imports

    importing = lean_imports()
if sys.argv[1] != "plain":
    gc.disable()

with importing:
    import json
    import os
    from typing import Optional

    import yaml
    from defusedxml.ElementTree import fromstring
    from urllib3 import HTTPConnectionPool


def ask(pool: HTTPConnectionPool, verb: str, path: str, headers: dict[str, str], body: Optional[str] = None) -> bytes:
    """The body of an answer; anything but 200 ends the program."""
    answer = pool.urlopen(verb, path, headers=headers, body=body, retries=False, timeout=10.0)
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status}")
    return answer.data


with open(sys.argv[2], "rb") as file:
    yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
imds, wireserver = (HTTPConnectionPool(word.split(":")[0], int(word.split(":")[1])) for word in sys.argv[3:])
instance = json.loads(ask(imds, "GET", "/metadata/instance?api-version=2021-08-01&format=json", {"Metadata": "true"}))
version = {"x-ms-version": "2012-11-30"}
state = fromstring(ask(wireserver, "GET", "/machine/?comp=goalstate", version))
health = (
    f"<Health><GoalStateIncarnation>{state.findtext('Incarnation')}</GoalStateIncarnation><Container>"
    f"<ContainerId>{state.findtext('Container/ContainerId')}</ContainerId><RoleInstanceList><Role>"
    f"<InstanceId>{state.findtext('Container/RoleInstanceList/RoleInstance/InstanceId')}</InstanceId>"
    "<Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>"
)
ask(wireserver, "POST", "/machine/?comp=health", {**version, "Content-Type": "text/xml;charset=utf-8"}, health)
if sys.argv[1] != "plain":
    sys.stdout.flush()
    os._exit(0)
