"""What tells one function, module or object from another, as a hash that outlives the process."""

import copyreg
import dis
import functools
import hashlib
import pickle
import sys
import types

import numpy as np
import torch

_ATOMS = (type(None), type(...), bool, int, float, complex, str, bytes)
_CODE = (types.FunctionType, types.CodeType, types.BuiltinFunctionType, types.ModuleType, type)
# What is taken apart without the help of pickle, or refused.
_PLAIN = (*_ATOMS, *_CODE, np.ndarray, list, tuple, dict, set, torch.Tensor, torch.nn.Module)
_IRREDUCIBLE = (TypeError, AttributeError, RuntimeError, pickle.PicklingError)
_KNOWN = {"torch", "numpy", *sys.stdlib_module_names}
# What Python itself puts into classes and what their slots are.
_PLUMBING = (types.GetSetDescriptorType, types.MemberDescriptorType)


def fingerprint(*values):
    """Hash of some values, a hashlib object that more can be added to.

    Functions are told apart by their code, their attributes, what they close over, and what they
    use of their own file: data, objects, functions and classes; modules and objects by the code of
    their class and by their attributes, weights among them. Code of Python, numpy, torch and of
    other files goes by its name, and what code uses and nothing can look into, as a lock, by its
    type.

    Parameters
    ----------
    *values : object

    Returns
    -------
    total : hashlib object

    Raises
    ------
    TypeError
        If an object has nothing to tell it by.
    """
    total = hashlib.blake2b(digest_size=20)
    seen = {}  # by id, kept alive so that no id is used again
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, _ATOMS):
            content, parts = repr(value), ()
        elif id(value) in seen:
            content, parts = str(seen[id(value)][0]), ()
        else:
            seen[id(value)] = len(seen), value
            content, parts = _taken_apart(value)
        kind = type(value)
        parts = list(parts)
        total.update(f"{kind.__module__}.{kind.__qualname__} {len(parts)} {len(content)} ".encode())
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        total.update(content)
        waiting += reversed(parts)
    return total


def _taken_apart(value):
    """What a value holds itself, text or bytes, and other values that it is made of."""
    if isinstance(value, torch.Tensor) and value.layout == torch.strided:
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
        return plain.view(torch.uint8).numpy(), [str(value.dtype), tuple(value.shape)]
    if type(value) is np.ndarray and not value.dtype.hasobject:
        plain = np.ascontiguousarray(value).reshape(-1)
        return plain.view(np.uint8), [value.dtype.str, value.shape]
    if isinstance(value, dict):
        return "", [part for item in value.items() for part in item]
    if isinstance(value, (set, frozenset)):
        return "", sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return "", value
    if isinstance(value, types.FunctionType):
        return _name(value), () if _goes_by_name(value) else _parts_of_function(value)
    if isinstance(value, types.CodeType):
        return value.co_code, [*value.co_names, *value.co_consts]
    if isinstance(value, functools.partial):
        return "", [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return "", [value.__func__, value.__self__]
    if isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
        return _name(value), ()
    if isinstance(value, type):
        return _name(value), _parts_of_class(value)
    try:
        reduced = _reduced(value)
    except _IRREDUCIBLE as error:
        if isinstance(value, torch.nn.Module):  # with torch.nn.utils.parametrize, none can pickle
            return "", [type(value), vars(value)]
        raise TypeError(
            "cache_dir keeps features by what the module and preprocess are made of, and an object "
            f"of type {type(value).__name__} in them cannot be looked into ({error}). Take it out, "
            "or set cache_dir=None."
        ) from error
    if isinstance(reduced, str):  # functools.lru_cache has a function inside
        return reduced, [getattr(value, "__wrapped__", None)]
    made, of, state, *items = *reduced, *[None] * (5 - len(reduced))
    return "", [type(value), made, of, state, *(list(part or ()) for part in items[:2])]


def _reduced(value):
    """As pickle does, but that it goes on with the parts."""
    reduce = copyreg.dispatch_table.get(type(value))
    return value.__reduce_ex__(4) if reduce is None else reduce(value)


def _name(value):
    name = getattr(value, "__qualname__", value.__name__)
    return f"{getattr(value, '__module__', '')}.{name}"


def _goes_by_name(value):
    return (value.__module__ or "").partition(".")[0] in _KNOWN


def _parts_of_function(function):
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [function.__code__, function.__defaults__, function.__kwdefaults__, cells]
    parts.append(vars(function))
    for name in sorted(_names_read(function.__code__)):
        parts += [name, _used(function.__globals__.get(name), function.__module__)]
    return parts


def _used(value, file):
    """What code of a file uses: by its name if it is code of another file, else itself."""
    if isinstance(value, (types.FunctionType, type)) and value.__module__ != file:
        return _name(value)
    if not isinstance(value, _PLAIN):
        try:
            _reduced(value)
        except _IRREDUCIBLE:
            return _name(type(value))
    return value


def _names_read(code):
    """Global names that a function reads, also in functions inside it."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    return own.union(*map(_names_read, inner))


def _parts_of_class(cls):
    parts = []
    for base in cls.__mro__:
        parts.append(_name(base))
        if _goes_by_name(base):
            continue
        for name, member in sorted(vars(base).items()):
            member = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(member, functools.cached_property):  # it holds a lock, too
                member = member.func
            own = not (name.startswith("__") or isinstance(member, _PLUMBING))
            if own or isinstance(member, types.FunctionType):
                parts += [name, _used(member, base.__module__)]
    return parts
