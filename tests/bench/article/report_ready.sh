#!/bin/bash
# The same report as the article's Bash script makes it: curl, and up to five attempts for each half.
wireserver=$1
attempts=1
until [ "$attempts" -gt 5 ]; do
    if goalstate=$(curl --fail --silent --header 'x-ms-version: 2012-11-30' "http://$wireserver/machine/?comp=goalstate"); then
        break
    fi
    attempts=$((attempts + 1))
    sleep 5
done
[[ $goalstate =~ \<ContainerId\>([^<]*) ]] && container=${BASH_REMATCH[1]}
[[ $goalstate =~ \<InstanceId\>([^<]*) ]] && instance=${BASH_REMATCH[1]}
read -r -d '' health <<XML
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
attempts=1
until [ "$attempts" -gt 5 ]; do
    if curl --fail --silent --output /dev/null --header 'x-ms-version: 2012-11-30' \
        --header 'x-ms-agent-name: azure-vm-register' --header 'Content-Type: text/xml;charset=utf-8' \
        --data "$health" "http://$wireserver/machine?comp=health"; then
        exit 0
    fi
    attempts=$((attempts + 1))
    sleep 5
done
exit 1
