"""The GRU written out against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqmarket.models import gru
from seqmarket.nn import explicit_gru as module
from seqmarket.nn import pace
from seqmarket.nn.explicit_gru import written_out_gru
from seqmarket.nn.precision import training_on_cpu
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch

B, T, D, H = 3, 11, 5, 4


def deviations(n_layers: int = 1, bf16: bool = False, t: int = T) -> list[float]:
    """Relative errors of the states and of the gradients of the input and of all weights."""
    torch.manual_seed(0)
    rnn = nn.GRU(D, H, n_layers, batch_first=True).double()
    x = torch.randn(B, t, D, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(B, t, H, dtype=torch.float64)

    def states_and_gradients(states: Tensor) -> list[Tensor]:
        wanted = [x, *rnn.parameters()]
        return [states, *torch.autograd.grad(states, wanted, grad.to(states.dtype))]

    expected = states_and_gradients(rnn(x)[0])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        states = written_out_gru(rnn, x)
    found = states_and_gradients(states)
    return [
        float(((f - e).norm() / e.norm()).detach()) for f, e in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize("t", [1, 2, T])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_it_equals_torch_s(n_layers: int, t: int) -> None:
    assert max(deviations(n_layers, t=t)) < 1e-12


def test_however_many_steps_the_backward_pass_takes_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for at_once in (1, 3, T - 1, T):
        monkeypatch.setattr(module, "_IN_CACHE", at_once * B * H)
        assert max(deviations()) < 1e-12


def test_in_bfloat16_it_is_as_exact_as_that_allows() -> None:
    assert max(deviations(n_layers=2, bf16=True)) < 0.02


def test_a_reset_gate_before_the_product_would_be_another_gru(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cho et al. reset the state, cuDNN and torch what the candidate makes of it."""

    def reset_first(due: Tensor, r: Tensor, *rest: Tensor) -> None:
        per_unit(due, torch.ones_like(r), *rest)

    per_unit = module._per_unit_of_state
    monkeypatch.setattr(module, "_per_unit_of_state", reset_first)
    assert max(deviations()) > 0.05


def test_values_between_layers_are_dropped_in_training_only() -> None:
    torch.manual_seed(0)
    rnn = nn.GRU(D, H, 2, batch_first=True, dropout=0.5)
    x = torch.randn(B, T, D)
    assert not torch.equal(written_out_gru(rnn, x), written_out_gru(rnn, x))
    rnn.eval()
    torch.testing.assert_close(written_out_gru(rnn, x), rnn(x)[0])


def test_it_is_for_training() -> None:
    x = torch.zeros(B, T, D)
    assert training_on_cpu(x)
    with torch.no_grad():
        assert not training_on_cpu(x)
    assert not training_on_cpu(x.to("meta"))


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    rnn = nn.GRU(D, H, batch_first=True)
    x = torch.randn(B, T, D, requires_grad=True)
    (grad,) = torch.autograd.grad(written_out_gru(rnn, x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        grad.sum().backward()


def test_no_journeys_have_no_gradient() -> None:
    x = torch.randn(0, 3, 5, requires_grad=True)
    written_out_gru(nn.GRU(5, 4, batch_first=True), x).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 3, 5)


def test_training_takes_the_written_out_steps(
    spec: SequenceSpec, batch: JourneyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a comparison of training with prediction would compare torch's GRU with itself."""
    taken = []

    def noted(name: str) -> None:
        where = gru if name == "written_out_gru" else pace
        honest = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *args: taken.append(name) or honest(*args))

    noted("written_out_gru")
    noted("explicit_fading")
    encoder = gru.GRUEncoder(spec, d_model=8)
    encoder(batch)
    assert sorted(taken) == ["explicit_fading", "written_out_gru"]
    with torch.no_grad():
        encoder(batch)
    assert len(taken) == 2
