"""PyTorch's switches for speed and precision that Ultralytics has no argument for."""

import torch

from sainet.protocol import Plan


def set_switches(plan: Plan) -> None:
    """Set what the plan asks for, for this process. To be called after Ultralytics has seeded it.

    TensorFloat-32: matrix products (off in PyTorch unless asked for) and convolutions (on), both as the plan says.
    """
    if plan.tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = plan.tf32
        torch.backends.cudnn.allow_tf32 = plan.tf32
    torch.backends.cudnn.benchmark = plan.cudnn_benchmark
