"""Refusing what does not fit into the machine before it is tried."""

import os

__all__ = ["refuse_too_large"]


def refuse_too_large(n, n_matrices):
    """Raise before a machine that promises more memory than it has is brought down.

    Parameters
    ----------
    n : int
        Number of vectors in a dense quadratic programme.
    n_matrices : int
        Matrices of n by n that its solver holds at a time.

    Raises
    ------
    MemoryError
        If they need more than the machine's memory.
    """
    needed = n_matrices * 8 * n**2
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return  # Windows does not say
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise MemoryError(
            f"A quadratic programme of {n} instances at once needs about {needed / 1e9:.0f} GB, "
            f"and this machine has {available / 1e9:.0f} GB. Take solver='auto', kernel='linear' "
            "or fewer instances of each bag; or AttentionMILClassifier, whose cost grows with the "
            "number of instances only."
        )
