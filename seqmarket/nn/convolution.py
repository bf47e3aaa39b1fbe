"""Causal, dilated convolutions over the events of a journey.

After Bai, Kolter & Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks
for Sequence Modeling" (2018), and van den Oord et al., "WaveNet" (2016).

Shape legend: B journeys, T events of the longest, D width of a state.
"""

from torch import Tensor, nn
from torch.nn.functional import pad

from seqmarket.nn.dropout import ChannelDropout


class CausalConvolution(nn.Module):
    """Each event sees itself and ``kernel_size - 1`` events before it, `dilation` apart.

    It is a two-dimensional convolution of height 1 on a view of (B, T, D): channels come last, for
    which the CPU kernel needs no transposed copies. Forward and backward take two thirds of the
    time of `nn.Conv1d`, and of a matrix product over shifted copies; half in bfloat16.
    """

    def __init__(self, d_model: int, kernel_size: int, dilation: int) -> None:
        """Builds it.

        Args:
            d_model: D, width of input and output.
            kernel_size: Number of events that go into an output.
            dilation: Events from one of them to the next.
        """
        super().__init__()
        self.before = (kernel_size - 1) * dilation
        self.conv = nn.Conv2d(d_model, d_model, (1, kernel_size), dilation=(1, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, T, D); before the first event there are zeros."""
        x = pad(x, [0, 0, self.before, 0]).unsqueeze(1)  # (B, 1, before + T, D)
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).squeeze(1)  # type: ignore[no-any-return]


class ConvolutionBlock(nn.Module):
    """A dilated convolution and a perceptron on its outputs, added to the states.

    The residual block of Bai et al. with three changes: of its two convolutions the second has
    width 1; the norm comes first, and is of each event by itself, so that neither other events nor
    other journeys enter it; and GELU takes the place of ReLU.
    """

    def __init__(self, d_model: int, kernel_size: int, dilation: int, dropout: float) -> None:
        """Builds it.

        Args:
            d_model: D, width of the states.
            kernel_size: See `CausalConvolution`.
            dilation: See `CausalConvolution`.
            dropout: Probability that a channel of the output is dropped in training.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(d_model, bias=False),
            CausalConvolution(d_model, kernel_size, dilation),
            nn.GELU(),
            nn.Linear(d_model, d_model),
            ChannelDropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Adds to the states (B, T, D) what it makes of them."""
        return x + self.layers(x)  # type: ignore[no-any-return]
