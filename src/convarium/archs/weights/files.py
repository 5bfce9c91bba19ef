"""Weight files from anybody, read as tensors and nothing else."""

import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from convarium.archs.weights.layout import State
from convarium.files import is_odd_archive

# keys under which training scripts keep the weights beside other things
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
PREFIXES = ("module.", "model.", "_orig_mod.")  # of DataParallel, of a LightningModule, of torch.compile


def read_file(path: Path) -> State:
    """The tensors of a .safetensors file, or of one that torch saved, by their names, on the CPU.

    Raises ValueError, saying what to do, for a file that cannot be read without running code that is stored in it, for
    one that is corrupt, and for one that holds anything but named tensors.
    """
    if path.suffix == ".safetensors":
        try:
            return tensors(load_file(path))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"not a safetensors file that can be read ({type(error).__name__})") from error
    if is_odd_archive(path):
        raise ValueError("a compressed or damaged archive; accepted: what torch.save wrote")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, about what is refused here anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a broken file
        if (found := re.search(r"GLOBAL (\S+)|(TorchScript) archive", str(error))) is None:
            raise ValueError(f"not a file of torch that can be read ({type(error).__name__})") from error
        raise ValueError(
            f"holds more than tensors ({found[1] or found[2]}), which only running its code would read; if you trust"
            f" it, convert it once: {_conversion(path)}"
        ) from error
    return tensors(content)


def tensors(content: Any) -> State:
    """The named tensors in what a file held, without wrappers and without a prefix that all of them have."""
    while isinstance(content, dict):
        inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    accepted = f"accepted: named tensors, or these under {' or '.join(map(repr, WRAPPERS))}"
    if not isinstance(content, dict) or not content:
        kind = "nothing" if content == {} else f"an object of type {type(content).__name__}"
        raise ValueError(f"holds {kind}; {accepted}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{key!r} holds an object of type {type(value).__name__}; {accepted}")
    state = dict(content)
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _conversion(path: Path) -> str:
    code = (
        "import sys, torch; x = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
        "x = x.get('state_dict', x.get('model', x)) if isinstance(x, dict) else x; "
        "x = x.state_dict() if hasattr(x, 'state_dict') else x; "
        "torch.save({k: v for k, v in x.items() if torch.is_tensor(v)}, sys.argv[2])"
    )
    return (
        f"python -c {shlex.quote(code)} {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.tensors.pth')))}"
    )
