"""An example entry for each handler: `azurelite handlers NAME` prints it, and a test checks it.

A plug-in has its own in `EXAMPLE` of its module.
"""

from __future__ import annotations

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJLoUzI85bKCW9bt0Q3fnhxG027R7Ol3pe0e5dWd1nI ops@example"

EXAMPLES: dict[str, str] = {
    "certificates": """\
- certificates:
    directory: /etc/nginx/tls
    owner: root:nginx
    key_mode: "0640"
""",
    "custom_data": """\
- custom_data:
    action: save            # a program of the image reads it
    save: /var/lib/waagent/CustomData
""",
    "disable_service": """\
- disable_service           # later boots do not run azurelite
""",
    "eject_media": """\
- eject_media               # after report_ready
""",
    "growroot": """\
- growroot                  # a root on LVM, dm-crypt or RAID only gets a note: growing it is not tested
""",
    "hostname": """\
- hostname:
    fqdn: domain
    domain: corp.example
""",
    "locale": """\
- locale:
    locale: de_DE.UTF-8
    keymap: de-latin1
""",
    "mounts": """\
- mounts:
    entries:
      - {device: LABEL=data, path: /srv/data, type: ext4, options: "defaults,nofail,noatime"}
      - {device: tmpfs, path: /scratch, type: tmpfs, options: "size=512m,mode=1777"}
""",
    "network": """\
- network:
    renderer: networkd
""",
    "packages": """\
- packages:
    install: [nginx, "git=1:2.39.5-0+deb12u2"]
    when: tags.role in [web, proxy]
""",
    "passwords": """\
- passwords:
    users:
      - name: operator
        type: hash
        password: "$6$saltsaltsaltsalt$notahashofanypassword"
    expire: true
""",
    "power_state": """\
- power_state:
    mode: reboot
    delay: 5                # minutes
    condition: test -e /run/reboot-required
""",
    "random_seed": """\
- random_seed
""",
    "report_ready": """\
- report_ready
""",
    "resource_disk": """\
- resource_disk:
    mount: /mnt/scratch
    filesystem: xfs
    swap: 4G
""",
    "run": """\
- run:
    id: register            # a unique name, because `run` may have several entries
    argv: [/usr/local/sbin/register-vm, --quiet]
    timeout: 60
    when: not tags.unmanaged
""",
    "ssh_host_keys": """\
- ssh_host_keys:
    types: [ed25519, rsa]
""",
    "ssh_keys": f"""\
- ssh_keys:
    keys:
      - {_KEY}
""",
    "sshd": """\
- sshd:
    password_authentication: no
    settings: {PermitRootLogin: "no", ClientAliveInterval: 180}
""",
    "swap": """\
- swap:
    path: /var/swapfile
    size: 2G
""",
    "tags": """\
- tags:
    path: /etc/azure.env    # for EnvironmentFile= or `. /etc/azure.env`
    prefix: VM_
""",
    "time_sync": """\
- time_sync:
    servers: [ntp1.corp.example, 10.0.0.4]
""",
    "timezone": """\
- timezone:
    zone: Europe/Berlin
""",
    "user": """\
- user:
    groups: [wheel, docker]
    create_groups: true
    sudo: nopasswd
    shell: /bin/zsh
""",
    "user_data": """\
- user_data:
    sources: [user_data]    # ignore custom data
    timeout: 600
""",
    "users": f"""\
- users:
    groups:
      - name: ops
    accounts:
      - name: alice
        groups: [ops]
        sudo: password
        ssh_authorized_keys:
          - {_KEY}
""",
    "wireserver_firewall": """\
- wireserver_firewall:
    users: [omsagent]
""",
    "write_files": """\
- write_files:
    files:
      - path: /etc/motd
        content: |
          This machine is looked after by ops.
      - path: /etc/app/settings.ini
        owner: root:adm
        permissions: "0640"
        content: "[main]\\nworkers = 4\\n"
""",
}
