"""The report of Azure's article on images without an agent: goal state, then health, by the standard library alone."""

import http.client
import sys
from xml.etree import ElementTree

HEADERS = {"x-ms-version": "2012-11-30"}

wireserver = http.client.HTTPConnection(sys.argv[1])
wireserver.request("GET", "/machine?comp=goalstate", headers=HEADERS)
state = ElementTree.fromstring(wireserver.getresponse().read())
container = state.findtext("Container/ContainerId")
instance = state.findtext("Container/RoleInstanceList/RoleInstance/InstanceId")
sys.stdout.write(f"ContainerId: {container}\nInstanceId: {instance}\n")

health = ElementTree.Element("Health")
ElementTree.SubElement(health, "GoalStateIncarnation").text = state.findtext("Incarnation")
box = ElementTree.SubElement(health, "Container")
ElementTree.SubElement(box, "ContainerId").text = container
role = ElementTree.SubElement(ElementTree.SubElement(box, "RoleInstanceList"), "Role")
ElementTree.SubElement(role, "InstanceId").text = instance
ElementTree.SubElement(ElementTree.SubElement(role, "Health"), "State").text = "Ready"
headers = {**HEADERS, "Content-Type": "text/xml;charset=utf-8", "x-ms-agent-name": "custom-provisioning"}
wireserver.request("POST", "/machine?comp=health", body=ElementTree.tostring(health), headers=headers)
answer = wireserver.getresponse()
answer.read()
sys.stdout.write(f"Response: {answer.status} {answer.reason}\n")
