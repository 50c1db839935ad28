"""What the ablations compare: one row of the table each. Pure data; run.py trains and evaluates them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str  # of its folder, and in the table
    trainable: tuple[str, ...] = ()  # beside LoRA: of embed, norm
    pattern: str = "shifted_sparse"  # in training; the evaluation is dense
    dense_final_fraction: float = 0.0


# The paper's Table 2 (LoRA, + norm, + embedding, + both) for both patterns, and the dense last part.
VARIANTS = (
    *(Variant(f"{label}, {pattern_label}", trainable, pattern)
      for pattern, pattern_label in (("dense", "dense"), ("shifted_sparse", "S²-Attn"))
      for label, trainable in (("LoRA", ()), ("LoRA + norm", ("norm",)), ("LoRA + embed", ("embed",)),
                               ("LoRA + norm + embed", ("embed", "norm")))),
    Variant("LoRA + norm + embed, S²-Attn, last 10% dense", ("embed", "norm"), dense_final_fraction=0.1),
)
