"""What a throw-away Slurm needs to be installed: `python packages.py` installs it on Debian and Ubuntu, as root."""

import os
import shutil
import subprocess
import sys

PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
"""The programs of a cluster, each with the Debian package that brings it."""
ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}
"""What the accounting database needs on top."""


def find(program: str) -> str | None:
    """Path of a program; daemons lie where the PATH of people who are not root does not lead."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def missing(accounting: bool = False) -> dict[str, str]:
    """The programs that are not there, each with its package."""
    wanted = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    return {program: package for program, package in wanted.items() if find(program) is None}


def slurm_version() -> str | None:
    """Version of the installed Slurm, None where there is none."""
    if (program := find("slurmctld")) is None:
        return None
    return subprocess.run([program, "-V"], capture_output=True, text=True, check=True, timeout=30).stdout.split()[-1]


def why_not_installable() -> str | None:
    """Why the packages cannot be installed from here, in a few words; None where they can."""
    if find("apt-get") is None:
        return "there is no apt-get"
    if os.geteuid() != 0:
        return "that needs root"
    return None


def install(accounting: bool = True) -> None:
    """Install the packages that are missing, and nothing where none is.

    Raises:
        RuntimeError: they cannot be installed from here.
        subprocess.CalledProcessError: apt-get failed.
    """
    if not (lacking := missing(accounting)):
        return
    packages = sorted(set(lacking.values()))
    if reason := why_not_installable():
        raise RuntimeError(f"cannot install {', '.join(packages)}: {reason}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Beside containers without an init, a package's own service could start: only the programs are wanted.
    options = ["--yes", "--quiet", "--no-install-recommends"]
    subprocess.run(["apt-get", "update", "--quiet"], env=environment, check=True, timeout=600)
    subprocess.run(["apt-get", "install", *options, *packages], env=environment, check=True, timeout=1800)


if __name__ == "__main__":
    try:
        install()
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"Slurm {slurm_version()} is installed.")
