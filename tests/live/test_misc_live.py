"""Services, programs and packages on a live system: real supervisors, a real apt with its own repository, a whole run.

The machine is a set of namespaces and an overlay that end with the test. Where it would reboot, a shim takes note.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import ED25519

HERE = Path(__file__).parent
AZURELITE = [sys.executable, "-m", "azurelite"]
VM = {"hostname": "misc", "username": "livewire", "ssh_keys": [ED25519], "tags": {"role": 'a "web" $HOME'}}

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Stage = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def stage(on_stage: Callable[..., Any]) -> Stage:
    """Run a job on the stage; a list with what came of each of its runs."""

    def run(*runs: dict[str, Any], vm: dict[str, Any] = VM) -> list[dict[str, Any]]:
        job = {"scenario": {"vm": vm, "faults": []}, "runs": list(runs)}
        results: list[dict[str, Any]] = on_stage(job)
        return results

    return run


def sh(script: str, **more: Any) -> dict[str, Any]:
    """A run of a shell's text in the guest."""
    return {"argv": ["sh", "-c", script], **more}


def python(text: str) -> dict[str, Any]:
    """A run of Python in the guest, with `system` and `services` at hand."""
    start = "from azurelite.system.machine import System\nfrom azurelite.system.services.services import Services\n"
    return {"argv": [sys.executable, "-c", f"{start}system = System('/')\nservices = Services(system)\n{text}"]}


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}: install {package}")


# A service that writes down what happens to it.
DAEMON = """#!/bin/sh
trap 'echo reloaded >> /run/told' HUP
echo started >> /run/told
while :; do sleep 0.1; done
"""
ASK = "print(services.running_init, services.running('sshd', 'web'), services.running('no-such-service'))"
TELL = (  # a shell takes note of a signal only when the program that it waits for has ended
    "import time; told = services.reload('sshd', 'web')\n"
    "for _ in range(100):\n    if 'reloaded' in open('/run/told').read(): break\n    time.sleep(0.1)\n"
    "print(told, services.restart('web'), services.restart('no-such-service'))"
)
TOLD = "i=0; while [ $(wc -l < /run/told) -lt 3 ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; cat /run/told"
DISABLE = "print(services.enabled('web'), services.disable('web'), services.enabled('web'), services.disable('web'))"

# What is made before the boot, and what is done once the machine is up. $0 is the text of the service.
SUPERVISORS = {
    "runit": """mkdir -p /run/runit /etc/sv/web /etc/service; rm -rf /etc/service/*; printf %s "$0" > /etc/sv/web/run
chmod 755 /etc/sv/web/run; ln -s /etc/sv/web /etc/service/web""",
    "s6": """mkdir -p /run/service/web /etc/s6-linux-init/current/run-image/service/web
printf %s "$0" > /run/service/web/run; chmod 755 /run/service/web/run""",
    "openrc": """printf %s "$0" > /usr/local/bin/web; chmod 755 /usr/local/bin/web
cat > /etc/init.d/web <<'END'
#!/sbin/openrc-run
extra_started_commands=reload
start() { setsid /usr/local/bin/web </dev/null >/dev/null 2>&1 & echo $! > /run/web.pid; }
stop() { kill "$(cat /run/web.pid)"; }
reload() { kill -HUP "$(cat /run/web.pid)"; }
END
chmod 755 /etc/init.d/web
for state in daemons exclusive failed options scheduled started starting stopping tmp; do
mkdir -p "/run/openrc/$state"; done
echo default > /run/openrc/softlevel
rc-update -q add web default; ln -sf /usr/bin/busybox /sbin/init""",
    "sysvinit": """printf %s "$0" > /usr/local/bin/web; chmod 755 /usr/local/bin/web
cat > /etc/init.d/web <<'END'
#!/bin/sh
### BEGIN INIT INFO
# Provides: web
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: web
### END INIT INFO
case $1 in
start) setsid /usr/local/bin/web </dev/null >/dev/null 2>&1 & echo $! > /run/web.pid ;;
stop) kill "$(cat /run/web.pid)" ;;
restart) "$0" stop; "$0" start ;;
reload) kill -HUP "$(cat /run/web.pid)" ;;
status) kill -0 "$(cat /run/web.pid)" 2>/dev/null ;;
esac
END
chmod 755 /etc/init.d/web; rm -rf /etc/runlevels; update-rc.d web defaults
rm -f /sbin/init; cp /usr/bin/busybox /sbin/init; echo >> /sbin/init; : > /etc/inittab""",
}
UP = {
    "runit": "i=0; until sv check /etc/service/web 2>/dev/null || [ $i = 50 ]; do sleep 0.1; i=$((i+1)); done",
    "s6": """i=0; until [ "$(s6-svstat -u /run/service/web 2>/dev/null)" = true ] || [ $i = 50 ]
do sleep 0.1; i=$((i+1)); done""",
    "openrc": "rc-service --nodeps web start",
    "sysvinit": "/etc/init.d/web start",
}
# Each machine's own process 1. sysvinit's is BusyBox's in another file: it too is called "init" and reads an inittab.
FIRST = {"runit": "exec runsvdir /etc/service", "s6": "exec s6-svscan /run/service"}
INITTAB = "echo '::once:/bin/sh /job' > /etc/inittab; exec /sbin/init"
BOOT = """unshare --pid --fork --kill-child --mount-proc sh -c "$0" </dev/null >/dev/null 2>&1 &
i=0; until [ -e /run/done ] || [ $i = 600 ]; do sleep 0.1; i=$((i+1)); done; kill $!"""


def booted(init: str, *jobs: list[str]) -> dict[str, Any]:
    """A run that boots the machine, does the jobs in it and switches it off; /run/0, /run/1 … hold what they said."""
    lines = [f"{shlex.join(job)} > /run/{number} 2> /run/{number}.err" for number, job in enumerate(jobs)]
    job = "\n".join([f"export PATH={os.environ['PATH']}; cd /", UP[init], *lines, ": > /run/done"])
    first = f"(sh /job &)\n{FIRST[init]}" if init in FIRST else INITTAB
    return sh(BOOT, files={"/job": job}) | {"argv": ["sh", "-c", BOOT, first]}


PROGRAMS = {"runit": ("runsvdir", "runit"), "s6": ("s6-svscan", "s6"), "openrc": ("rc-service", "openrc")}


@pytest.mark.parametrize(
    "init",
    [
        pytest.param(init, marks=[needs(*PROGRAMS.get(init, ("update-rc.d", "init-system-helpers")))])
        for init in SUPERVISORS
    ],
)
def test_a_running_service_is_reloaded_and_can_be_disabled(stage: Stage, init: str) -> None:
    jobs = [python(ASK), python(TELL), sh(TOLD), python(DISABLE), python("print(services.running('web'))")]
    start, chroot, _, *results = stage(
        {"argv": ["sh", "-c", SUPERVISORS[init], DAEMON]},
        python(ASK),
        booted(init, *(job["argv"] for job in jobs)),
        *(sh(f"cat /run/{number}; cat /run/{number}.err >&2") for number in range(len(jobs))),
    )
    ask, tell, told, disable, alive = results
    assert start["code"] == 0, start["err"]
    assert chroot["out"].split() == ["none", "None", "None"], "in a chroot nothing runs"
    assert ask["out"].split() == [init, "web", "None"], ask["err"]
    assert tell["out"].split() == ["True", "True", "False"], tell["err"]
    assert told["out"].split() == ["started", "reloaded", "started"]
    # s6's plain service folders are no list of what starts, unless they are part of the image that is booted from.
    assert disable["out"].split() == ["True", "True", "False", "False"], disable["err"]
    assert alive["out"].split() == ["web"], "a service that runs goes on"


@needs("update-rc.d", "init-system-helpers")
def test_sysvinits_own_tool_would_have_made_the_same_links(stage: Stage) -> None:
    look = "cd /etc; ls -d rc?.d/*web | sed 's/K[0-9][0-9]/K/'"
    make = SUPERVISORS["sysvinit"]
    made, _, ours, _, theirs = stage(
        {"argv": ["sh", "-c", make, DAEMON]},
        python("services.disable('web')"),
        sh(look),
        sh("update-rc.d -f web remove; update-rc.d web defaults; update-rc.d web disable"),
        sh(look),
    )
    assert made["code"] == 0, made["err"]
    assert ours["out"].splitlines() == theirs["out"].splitlines()


# A repository of one package, made by dpkg's own tools.
REPOSITORY = """set -e
mkdir -p /repo/web/DEBIAN /repo/web/usr/share/web; echo hello > /repo/web/usr/share/web/hello
cd /repo/web/DEBIAN
printf 'Package: azurelite-web\\nVersion: 1.2-3\\nArchitecture: all\\nMaintainer: x\\nDescription: x\\n' > control
dpkg-deb --build /repo/web /repo/web.deb >/dev/null
{ cat /repo/web/DEBIAN/control; echo "Filename: ./web.deb"; echo "Size: $(stat -c %s /repo/web.deb)"
echo "SHA256: $(sha256sum /repo/web.deb | cut -d' ' -f1)"; } > /repo/Packages
rm -rf /etc/apt/sources.list.d /var/lib/apt/lists/*; mkdir /etc/apt/sources.list.d
echo "deb [trusted=yes] file:/repo ./" > /etc/apt/sources.list
"""


@needs("apt-get", "apt")
def test_the_real_apt_installs_what_is_missing_and_asks_for_nothing_twice(stage: Stage) -> None:
    config = {
        "/etc/azurelite/azurelite.yaml": "handlers:\n  - packages: {install: [[azurelite-web, 1.2-3], coreutils]}\n",
        "/tmp/metadata.json": "{}",
    }
    bad = {"/etc/azurelite/azurelite.yaml": "handlers:\n  - packages: {install: [azurelite-nonsense]}\n"}
    apply = {"argv": [*AZURELITE, "apply", "packages", "--metadata", "/tmp/metadata.json"], "files": config}
    made, dry, first, look, second, refused = stage(
        sh(REPOSITORY),
        {**apply, "argv": [*apply["argv"], "--dry-run"]},
        apply,
        sh("dpkg-query -W azurelite-web; cat /usr/share/web/hello"),
        apply,
        {**apply, "files": bad},
    )
    assert made["code"] == 0, made["err"]
    change = "install azurelite-web 1.2-3 (by apt-get)"
    assert change in dry["out"] + dry["err"]
    assert first["code"] == 0, first["err"]
    assert change in first["out"] + first["err"]
    assert look["out"].split() == ["azurelite-web", "1.2-3", "hello"]
    assert second["code"] == 0
    assert "package" not in second["out"].replace("packages", "")
    assert refused["code"] == 1
    assert "Unable to locate package azurelite-nonsense" in refused["out"] + refused["err"]


HOLD = """import fcntl, time
held = open({path!r}, "w")
fcntl.lockf(held, fcntl.LOCK_EX)
open("/run/held", "w").close()
time.sleep(3)
"""


@needs("apt-get", "apt")
@pytest.mark.parametrize(
    "path", ["/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"]
)
def test_each_lock_of_the_real_apt_is_waited_for(stage: Stage, path: str) -> None:
    files = {
        "/etc/azurelite/azurelite.yaml": "handlers:\n  - packages: {install: [azurelite-web]}\n",
        "/tmp/metadata.json": "{}",
        "/tmp/hold.py": HOLD.format(path=path),
    }
    hold = f"{sys.executable} /tmp/hold.py >/dev/null 2>&1 & while ! [ -e /run/held ]; do sleep 0.1; done"
    made, held, done, look = stage(
        sh(REPOSITORY),
        {**sh(hold), "files": files},
        {"argv": [*AZURELITE, "apply", "packages", "--metadata", "/tmp/metadata.json"]},
        sh("cat /usr/share/web/hello"),
    )
    assert made["code"] == held["code"] == 0, made["err"] + held["err"]
    assert done["code"] == 0, done["err"]
    assert f"holds {path}" in done["err"]
    assert look["out"] == "hello\n"


WHOLE = """handlers:
  - user
  - random_seed
  - write_files:
      files:
        - {path: /home/livewire/.config/app/rc, content: "x\\n", owner: livewire, permissions: "0600"}
        - {path: /etc/app/token, content: canary-token, permissions: "0600"}
  - tags
  - run: {shell: 'cat > /var/lib/given.json; echo "$AZURELITE_HOSTNAME"; id -un', log: /var/log/given.log}
  - certificates
  - report_ready
  - disable_service
  - power_state: {mode: reboot, delay: 2, message: it is ready, condition: [test, -e, /var/lib/given.json]}
"""
SHUTDOWN = '#!/bin/sh\ntest -e /run/azurelite/status.json && echo recorded >> /run/down\necho "$@" >> /run/down\n'
UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def test_a_whole_run_with_everything_and_the_machine_goes_down_last(stage: Stage) -> None:
    # PATH comes first where programs are looked for, so that nothing but the shim is called.
    env = ["env", "PATH=/shims:/usr/sbin:/usr/bin:/sbin:/bin"]
    files = {
        "/etc/azurelite/azurelite.yaml": WHOLE,
        "/shims/shutdown": SHUTDOWN,
        "/etc/init.d/azurelite": "#!/bin/sh\n",
        "/sys/firmware/acpi/tables/OEM0": "canary-seed" * 9,
    }
    links = "chmod 755 /shims/shutdown; rm -rf /etc/runlevels; ln -sf ../init.d/azurelite /etc/rc2.d/S01azurelite"
    look = (
        "stat -c '%U %a' /home/livewire/.config/app /home/livewire/.config/app/rc /etc/app/token; "
        '. /run/azurelite/tags.env; echo "$AZURE_TAG_ROLE"; cat /var/log/given.log; ls /etc/ssl/azurelite | wc -l; '
        "ls /etc/rc2.d | grep azurelite"
    )
    prepared, dry, done, seen, given, down = stage(
        sh(links, files=files),
        {"argv": [*env, *AZURELITE, "provision", "--dry-run", "--json"]},
        {"argv": [*env, *AZURELITE, "provision", "--json"]},
        sh(look),
        sh("cat /var/lib/given.json"),
        sh("i=0; until [ -e /run/down ] || [ $i = 100 ]; do sleep 0.1; i=$((i+1)); done; sleep 0.2; cat /run/down"),
        vm={**VM, "certificates": True},
    )
    assert prepared["code"] == 0, prepared["err"]
    assert done["code"] == 0, done["err"]
    (report,) = done["reports"]
    assert (report["state"], report["accepted"]) == ("Ready", True)
    steps = {step["name"]: step for step in json.loads(done["out"])["steps"]}
    assert {step["status"] for step in steps.values()} == {"done"}, done["err"]
    would = {step["name"]: step["changes"] for step in json.loads(dry["out"])["steps"]}
    assert would == {name: step["changes"] for name, step in steps.items()}
    assert [line.split()[0] for line in steps["random_seed"]["changes"]] == ["seed"]
    assert "canary" not in done["out"] + done["err"] + dry["out"] + dry["err"]

    lines = seen["out"].splitlines()
    assert lines[:3] == ["livewire 755", "livewire 600", "root 600"]
    assert lines[3:6] == ['a "web" $HOME', "misc", "root"]
    assert int(lines[6]) == 2
    assert [name[0] for name in lines[7:]] == ["K"]
    assert json.loads(given["out"])["local_hostname"] == "misc"
    assert down["out"].splitlines() == ["recorded", "-r +2 it is ready"]
