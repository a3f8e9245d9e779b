"""AdamW whose state exists only for the selected entries."""

from collections.abc import Mapping

import torch

from weatherpeft.peft.sfas.pool import Pool


class SparseAdam:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) on a changing set of entries of a pool.

    An entry keeps its moments and its step count while it stays selected. An entry that leaves loses them;
    if it returns, it starts from zero with a step count of its own. Entries that are not selected do not
    change by a single bit: neither weight decay nor momentum reaches them. Parameters of fewer than two
    dimensions (biases, norms) have no weight decay.

    Attributes:
        index: pool indices of the last update ``(entry,)``, ascending.
    """

    def __init__(self, pool: Pool, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        """Start without state."""
        self._pool = pool
        self._betas = betas
        self._eps = eps
        self._weight_decay = weight_decay
        self.index = torch.empty(0, dtype=torch.int64, device=pool.device)
        self._first = torch.empty(0, dtype=pool.dtype, device=pool.device)
        self._second = torch.empty(0, dtype=pool.dtype, device=pool.device)
        self._age = torch.empty(0, dtype=torch.int64, device=pool.device)

    @torch.no_grad()
    def update(self, index: torch.Tensor, gradient: torch.Tensor, learning_rate: float) -> None:
        """Update the given entries by one step.

        Args:
            index: pool indices ``(entry,)``, ascending.
            gradient: gradient of these entries ``(entry,)``.
            learning_rate: learning rate of this step.
        """
        self._carry(index)
        beta_first, beta_second = self._betas
        self._age += 1
        self._first.lerp_(gradient, 1 - beta_first)
        self._second.mul_(beta_second).addcmul_(gradient, gradient, value=1 - beta_second)
        age = self._age.double()
        step_size = (learning_rate / (1 - beta_first**age)).to(gradient.dtype)
        correction = (1 - beta_second**age).sqrt().to(gradient.dtype)
        change = step_size * self._first / (self._second.sqrt() / correction + self._eps)
        for name, own, local in self._pool.locate(index):
            parameter = self._pool.parameters[name]
            decay = 1 - learning_rate * self._weight_decay if parameter.dim() > 1 else 1.0
            entries = parameter.view(-1)
            entries[local] = (entries[local] * decay - change[own]).to(parameter.dtype)

    def _carry(self, index: torch.Tensor) -> None:
        """Keep the state of entries that stay, and start that of new ones at zero."""
        position = torch.searchsorted(self.index, index)
        known = position < len(self.index)
        known[known.clone()] = self.index[position[known]] == index[known]
        old = position[known]
        for name in ("_first", "_second", "_age"):
            state = getattr(self, name)
            carried = torch.zeros(len(index), dtype=state.dtype, device=state.device)
            carried[known] = state[old]
            setattr(self, name, carried)
        self.index = index

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors ``(entry,)``: index, first and second moment, and steps since the entry was selected."""
        return {
            "index": self.index,
            "first_moment": self._first,
            "second_moment": self._second,
            "age": self._age,
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a saved state back, on the pool's device."""
        device = self._pool.device
        self.index = state["index"].to(device, copy=True)
        self._first = state["first_moment"].to(device, copy=True)
        self._second = state["second_moment"].to(device, copy=True)
        self._age = state["age"].to(device, copy=True)
