"""The report of Azure's article on images without an agent, in Python, as its reader would write it.

Nothing of azurelite is used, so that the simulator is judged by another client: no retry, no time-out, the POST's
status printed and not checked.
"""

import http.client
import sys
import urllib.parse
from xml.etree import ElementTree

HEADERS = {"x-ms-version": "2012-11-30"}

endpoint = urllib.parse.urlsplit(sys.argv[1]).netloc
connection = http.client.HTTPConnection(endpoint)
connection.request("GET", "/machine?comp=goalstate", headers=HEADERS)
state = ElementTree.fromstring(connection.getresponse().read())
container = state.findtext("Container/ContainerId")
instance = state.findtext("Container/RoleInstanceList/RoleInstance/InstanceId")
incarnation = state.findtext("Incarnation")
print("ContainerId:", container)
print("InstanceId:", instance)

report = ElementTree.Element("Health")
ElementTree.SubElement(report, "GoalStateIncarnation").text = incarnation
box = ElementTree.SubElement(report, "Container")
ElementTree.SubElement(box, "ContainerId").text = container
role = ElementTree.SubElement(ElementTree.SubElement(box, "RoleInstanceList"), "Role")
ElementTree.SubElement(role, "InstanceId").text = instance
ElementTree.SubElement(ElementTree.SubElement(role, "Health"), "State").text = "Ready"
connection.request(
    "POST",
    "/machine?comp=health",
    body=ElementTree.tostring(report),
    headers={**HEADERS, "Content-Type": "text/xml;charset=utf-8", "x-ms-agent-name": "custom-provisioning"},
)
answer = connection.getresponse()
answer.read()
print("Response:", answer.status, answer.reason)
