"""What the tests of the report need to be installed: `python browser_packages.py` installs it on Debian and Ubuntu, as root."""

import os
import shutil
import subprocess
import sys

PACKAGES = {"chromium": "chromium", "chromedriver": "chromium-driver"}
"""The programs, each with the Debian package that brings it."""


def missing() -> dict[str, str]:
    """The programs that are not there, each with its package."""
    return {program: package for program, package in PACKAGES.items() if shutil.which(program) is None}


def install() -> None:
    """Install the packages that are missing, and nothing where none is.

    Raises:
        RuntimeError: they cannot be installed from here.
        subprocess.CalledProcessError: apt-get failed.
    """
    if not (packages := sorted(missing().values())):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise RuntimeError(f"cannot install {', '.join(packages)}: that needs apt-get and root")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], env=environment, check=True, timeout=600)
    options = ["--yes", "--quiet", "--no-install-recommends"]
    subprocess.run(["apt-get", "install", *options, *packages], env=environment, check=True, timeout=1800)


if __name__ == "__main__":
    try:
        install()
    except RuntimeError as error:
        sys.exit(str(error))
    print("Chromium and its driver are installed.")
