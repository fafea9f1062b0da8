import pytest
from kit import BASE, FastClock, Guest

from azurelite.errors import AzureliteError
from azurelite.system.accounts.users import NewUser
from azurelite.system.machine import System

AZURE = NewUser("azure", "/home/azure", "/bin/sh")


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("target", ["/usr/share/skel", "../usr/share/skel"])
def test_skel_may_be_a_link_of_the_guests(guest: Guest, target: str, dry_run: bool) -> None:
    guest.path("usr/share").mkdir(parents=True)
    guest.path("etc/skel").rename(guest.path("usr/share/skel"))
    guest.path("etc/skel").symlink_to(target)
    System(guest.root, clock=FastClock(), dry_run=dry_run).accounts.create_user(AZURE)
    assert dry_run or guest.text("home/azure/.profile") == "umask 022\n"


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("loop", ["home", "etc/skel"])
def test_loops_are_told(guest: Guest, loop: str, dry_run: bool) -> None:
    import shutil

    shutil.rmtree(guest.path(loop))
    guest.path(loop).symlink_to("/" + loop)
    with pytest.raises(AzureliteError, match="symbolic link"):
        System(guest.root, clock=FastClock(), dry_run=dry_run).accounts.create_user(AZURE)


def test_many_digits(guest: Guest) -> None:
    guest.put({"etc/passwd": BASE["etc/passwd"] + "m:x:" + "9" * 5000 + ":1::/:/bin/sh\n"})
    System(guest.root, clock=FastClock()).accounts.create_user(AZURE)
