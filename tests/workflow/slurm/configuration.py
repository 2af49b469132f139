"""The options of a throw-away Slurm, and the configuration files that they amount to."""

import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Partition:
    """A partition; all hold the cluster's only node.

    Attributes:
        name: its name; the first partition of a cluster is its default.
        priority: jobs of a higher partition go first, and may requeue those of a lower one.
    """

    name: str
    priority: int = 1


@dataclass(frozen=True)
class Options:
    """What a throw-away Slurm is like.

    Attributes:
        accounting: whether a database records jobs, so that sacct works.
        gpus: number of GPUs that the node pretends to have.
        gpu_type: their model.
        gpus_flag: whether `--gpus` works; some clusters only take `--gres`.
        cpus: number of CPUs that the node pretends to have.
        memory_mb: memory that it pretends to have.
        partitions: the partitions.
        preemption: whether jobs of a partition of higher priority requeue those of a lower one.
        min_job_age: seconds that squeue remembers an ended job for.
        over_memory_kill: whether jobs are killed that use more memory than they asked for.
        kill_wait: seconds between SIGTERM and SIGKILL for a job out of time.
    """

    accounting: bool = False
    gpus: int = 2
    gpu_type: str = "h200"
    gpus_flag: bool = True
    cpus: int = 8
    memory_mb: int = 32000
    partitions: tuple[Partition, ...] = (Partition("main"),)
    preemption: bool = False
    min_job_age: int = 3600
    over_memory_kill: bool = False
    kill_wait: int = 5


@dataclass(frozen=True)
class Ports:
    """Where the daemons listen, on this machine only."""

    slurmctld: int
    slurmd: int
    slurmdbd: int
    mariadbd: int


def free_ports() -> Ports:
    """Ports on which nothing listens."""
    sockets = [socket.socket() for _ in range(4)]
    try:
        # Held together, so that no two are the same.
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return Ports(*(one.getsockname()[1] for one in sockets))
    finally:
        for one in sockets:
            one.close()


DATABASE_USER = "slurm"
DATABASE = "slurm_accounting"
CLUSTER = "throwaway"


def node_name() -> str:
    """The node's name: slurmd looks itself up under the host's."""
    return socket.gethostname().partition(".")[0]


def user_name() -> str:
    """Who the daemons run as: whoever starts them."""
    return pwd.getpwuid(os.geteuid()).pw_name


def munge_socket(directory: Path) -> Path:
    """Where the daemons and commands find munged."""
    return directory / "munge" / "socket"


def slurm_conf(options: Options, directory: Path, ports: Ports) -> str:
    """Text of `slurm.conf`."""
    node = node_name()
    settings = {
        "ClusterName": CLUSTER,
        "SlurmctldHost": f"{node}(127.0.0.1)",
        "SlurmctldPort": ports.slurmctld,
        "SlurmdPort": ports.slurmd,
        "SlurmUser": user_name(),
        "SlurmdUser": user_name(),
        "AuthType": "auth/munge",
        # A requeued job waits until its old credential has expired, by default for two minutes.
        "AuthInfo": f"socket={munge_socket(directory)},cred_expire=5",
        "StateSaveLocation": directory / "slurmctld",
        "SlurmdSpoolDir": directory / "slurmd",
        "SlurmctldPidFile": directory / "slurmctld.pid",
        "SlurmdPidFile": directory / "slurmd.pid",
        # Neither cgroups nor anything else that a container may not have.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": 1,
        "MpiDefault": "none",
        # Only cons_tres understands --gpus.
        "SelectType": f"select/{'cons_tres' if options.gpus_flag else 'cons_res'}",
        "SelectTypeParameters": "CR_CPU_Memory",
        "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0",
        # The node has what slurm.conf says, whatever the machine has.
        "SlurmdParameters": "config_overrides",
        # A node that was away is used again as soon as it is back.
        "ReturnToService": 2,
        "SlurmdTimeout": 30,
        "KillWait": options.kill_wait,
        "MinJobAge": options.min_job_age,
        # As on clusters where a job is queued again only if it was submitted so.
        "JobRequeue": 0,
    }
    if options.over_memory_kill:
        settings["JobAcctGatherParams"] = "OverMemoryKill"
    if options.preemption:
        settings |= {"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"}
    if options.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": ports.slurmdbd,
            "AccountingStoragePass": munge_socket(directory),
            "AccountingStorageTRES": "gres/gpu",
        }
    resources = f"CPUs={options.cpus} RealMemory={options.memory_mb}"
    if options.gpus:
        settings["GresTypes"] = "gpu"
        resources += f" Gres=gpu:{options.gpu_type}:{options.gpus}"
    lines = [f"{key}={value}" for key, value in settings.items()]
    lines.append(f"NodeName={node} NodeAddr=127.0.0.1 {resources} State=UNKNOWN")
    for number, partition in enumerate(options.partitions):
        lines.append(
            f"PartitionName={partition.name} Nodes={node} State=UP MaxTime=INFINITE"
            f" PriorityTier={partition.priority} Default={'NO' if number else 'YES'}"
        )
    return "\n".join(lines) + "\n"


def gres_conf(options: Options, directory: Path) -> str:
    """Text of `gres.conf`: each GPU is a file that exists, which is all that Slurm asks for without cgroups."""
    node = node_name()
    return "".join(
        f"NodeName={node} Name=gpu Type={options.gpu_type} File={directory / f'gpu{number}'}\n"
        for number in range(options.gpus)
    )


def slurmdbd_conf(directory: Path, ports: Ports) -> str:
    """Text of `slurmdbd.conf`."""
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge_socket(directory)}",
        "DbdHost": "localhost",
        "DbdPort": ports.slurmdbd,
        "SlurmUser": user_name(),
        "PidFile": directory / "slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": ports.mariadbd,
        "StorageUser": DATABASE_USER,
        "StorageLoc": DATABASE,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
