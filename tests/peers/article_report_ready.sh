#!/bin/sh
# The report of Azure's article on images without an agent, by curl and a text template: goal state, fill in, post;
# then the hostname line of its unit. It greps the goal state line by line and takes incarnation 1 for granted.
set -eu
base=$1
goalstate=$(curl --silent --fail --header 'x-ms-version: 2012-11-30' "$base/machine/?comp=goalstate" | tr -d '\r')
container=$(echo "$goalstate" | sed -n 's|.*<ContainerId>\(.*\)</ContainerId>.*|\1|p')
instance=$(echo "$goalstate" | sed -n 's|.*<InstanceId>\(.*\)</InstanceId>.*|\1|p')
echo "ContainerId: $container"
echo "InstanceId: $instance"
curl --silent --fail --output /dev/null --write-out 'Response: %{http_code}\n' \
    --header 'x-ms-version: 2012-11-30' --header 'x-ms-agent-name: azure-vm-register' \
    --header 'Content-Type: text/xml;charset=utf-8' --data-binary @- "$base/machine?comp=health" <<XML
<?xml version="1.0" encoding="utf-8"?>
<Health xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <GoalStateIncarnation>1</GoalStateIncarnation>
  <Container>
    <ContainerId>$container</ContainerId>
    <RoleInstanceList>
      <Role>
        <InstanceId>$instance</InstanceId>
        <Health>
          <State>Ready</State>
        </Health>
      </Role>
    </RoleInstanceList>
  </Container>
</Health>
XML
curl --silent --fail --header 'metadata: true' --write-out '\n' \
    "$base/metadata/instance/compute/name?api-version=2019-06-01&format=text"
