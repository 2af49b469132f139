"""The one exception that reaches a user as a single line, and the machine's errors put into one."""

import errno


class OutctlError(Exception):
    """A mistake of the input, not of the program: the command line prints its text alone and exits with 1.

    The text names what is wrong, where (file, key), and what to do about it.
    """


def first_line(error: BaseException) -> str:
    """What another library's exception says, cut to one line; its type where it says nothing."""
    return str(error).partition("\n")[0].strip() or type(error).__name__


def of_the_machine(error: BaseException) -> str | None:
    """One line for an error that the machine made: a full disk, too little memory. None for any other."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in text:
        return f"the disk is full or its quota is used up ({text}); make room and start the workflow again"
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to write or read here ({text}); correct the permissions and start the workflow again"
    # torch's error for CUDA, and the allocator's message on CPUs.
    if name == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"out of memory ({text}); lower evaluation.tokens_per_pass or batch_size, or take a larger machine"
    return None
