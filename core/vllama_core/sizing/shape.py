"""What decides a model's memory: layers, widths and bytes of weights. The same value for every format."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """How one layer remembers. It may have both kinds of memory, and a layer that only computes has none.

    :ivar kv_heads: heads whose keys and values are kept; 0 = it keeps none.
    :ivar key: values of one head's key. Of MLA (DeepSeek), which keeps one latent vector for all heads: its width, with `kv_heads` 1.
    :ivar value: values of one head's value; 0 for MLA.
    :ivar window: tokens that it looks back on; None = all.
    :ivar state: bytes of a recurrent state, per sequence; 0 = it has none.
    """

    kv_heads: int = 0
    key: int = 0
    value: int = 0
    window: int | None = None
    state: int = 0

    @property
    def latent(self) -> bool:
        """One vector for all heads: tensor parallelism cannot split it."""
        return self.kv_heads > 0 and self.value == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Bytes of a model's tensors as they lie in its files.

    :ivar layers: of each layer.
    :ivar embedding: of the table that turns tokens into vectors.
    :ivar output: of the matrix that turns vectors into logits; 0 = the embedding's is used for both.
    :ivar rest: of everything else: final norms, encoders in files of their own, adapters.
    :ivar repacked: those in types that llama.cpp lays out anew for the CPU's vector units; part of the others.
    """

    layers: tuple[int, ...]
    embedding: int
    output: int
    rest: int = 0
    repacked: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.layers) + self.embedding + self.output + self.rest

    def scaled(self, factor: float) -> Weights:
        """The same tensors in another quantization, roughly: every tensor by the same factor."""
        return Weights(
            layers=tuple(int(size * factor) for size in self.layers),
            embedding=int(self.embedding * factor),
            output=int(self.output * factor),
            rest=int(self.rest * factor),
            repacked=int(self.repacked * factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model as sizing sees it.

    :ivar context: tokens that it was trained for; None = its files do not say.
    :ivar feed_forward: width of a dense feed-forward layer, the widest one.
    :ivar query: values of all query heads together.
    :ivar inner: channels of a recurrent layer; 0 = it has none, or its files do not say.
    :ivar experts: experts that each token passes through; 0 = no mixture of experts.
    :ivar expert_width: width of one expert's feed-forward layer.
    :ivar quantization: ``Q4_K_M``, ``BF16`` …, or ``unknown``.
    :ivar merges: the tokenizer is a BPE with a table of merges, which llama.cpp keeps in a hash map.
    """

    architecture: str
    parameters: int
    context: int | None
    vocabulary: int
    embedding: int
    feed_forward: int
    heads: int
    query: int
    inner: int = 0
    experts: int = 0
    expert_width: int = 0
    layers: tuple[Layer, ...]
    weights: Weights
    quantization: str
    merges: bool = True

    @property
    def recurrent(self) -> bool:
        """Recurrent or hybrid: some layer carries a state."""
        return any(layer.state for layer in self.layers)

    @property
    def reaches(self) -> frozenset[int | None]:
        """How far back its layers look: windows, and None for all; empty where nothing is kept."""
        return frozenset(layer.window for layer in self.layers if layer.kv_heads)

    @property
    def state(self) -> int:
        """Bytes of all recurrent states of one sequence."""
        return sum(layer.state for layer in self.layers)
