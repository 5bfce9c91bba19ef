"""In which number formats a run computes."""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Precision:
    """`mode` is Lightning's precision; `float32_matmul` is what GPUs may do to float32 products: "high" allows TF32."""

    mode: Literal["32-true", "bf16-mixed", "16-mixed"]
    float32_matmul: Literal["highest", "high"]

    def apply(self) -> None:
        """Set the process-wide switches for products and convolutions of float32 numbers."""
        torch.set_float32_matmul_precision(self.float32_matmul)
        torch.backends.cudnn.allow_tf32 = self.float32_matmul == "high"
