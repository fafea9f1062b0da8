# For nixpkgs: `nix-build contrib/packaging/nix`, or `callPackage` with this folder. The sources are the checkout's own.
{
  pkgs ? import <nixpkgs> { },
  lib ? pkgs.lib,
  python3Packages ? pkgs.python3Packages,
}:

python3Packages.buildPythonApplication {
  pname = "azurelite";
  # The one place that holds it.
  version = builtins.head (
    builtins.match ".*VERSION = \"([0-9.]+)\".*" (builtins.readFile ../../../azurelite/version.py)
  );
  pyproject = true;

  src = lib.cleanSource ../../..;

  build-system = [
    python3Packages.setuptools
  ];

  dependencies = [
    python3Packages.defusedxml
    python3Packages.pyyaml
    python3Packages.urllib3
  ];

  # The tests want a machine of their own: root, namespaces, tools of many kinds.
  doCheck = false;
  pythonImportsCheck = [ "azurelite" ];

  # For `systemd.packages = [ azurelite ]`; there is no /usr/bin on NixOS.
  postInstall = ''
    install -Dm644 contrib/packaging/man/azurelite.8 $out/share/man/man8/azurelite.8
    for unit in azurelite azurelite-hostname; do
      install -Dm644 azurelite/service/units/systemd/$unit.service $out/lib/systemd/system/$unit.service
      substituteInPlace $out/lib/systemd/system/$unit.service --replace-fail /usr/bin/azurelite $out/bin/azurelite
    done
  '';

  meta = {
    description = "Provisions virtual machines on Azure";
    license = lib.licenses.asl20;
    mainProgram = "azurelite";
    platforms = lib.platforms.linux;
  };
}
