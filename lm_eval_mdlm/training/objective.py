"""The LLaDA objective over a transformers network."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class MaskedDenoising(nn.Module):
    """Cross-entropy of masked response tokens, weighted by 1 / mask ratio: a bound on -log p(response | prompt).

    Source: Nie et al. 2025, arXiv:2502.09992, equation 5 and its fine-tuning code: the prompt is never masked, and
    each row counts by the mean over its response.
    """

    def __init__(self, network: nn.Module, *, shift: bool = False) -> None:
        """`network`: a decoder class of transformers with `is_causal=False` in its config (it may be wrapped by peft).

        shift: token i is predicted from state i - 1 (the Dream family).
        """
        super().__init__()
        self.network = network
        self.offset = 1 if shift else 0

    def forward(
        self,
        token_ids: Int[Tensor, "B L"],
        present: Bool[Tensor, "B L"],
        masked: Int[Tensor, " M"],
        targets: Int[Tensor, " M"],
        weights: Float[Tensor, " M"],
    ) -> dict[str, Float[Tensor, ""] | Float[Tensor, " B"]]:
        """The loss, averaged over rows, and in evaluation `row_losses` too; `weights` hold all normalisation."""
        decoder, head = self.network.get_decoder(), self.network.get_output_embeddings()  # type: ignore[operator]
        # A four-dimensional mask is taken as it is; a two-dimensional one costs a device sync in every pass.
        # Embedded here, outside what --compile compiles: there, repeatable gradients of a token that stands at many
        # places, as the mask does, are summed one place after the other.
        embedded = self.network.get_input_embeddings()(token_ids)  # type: ignore[operator]
        states = decoder(inputs_embeds=embedded, attention_mask=present[:, None, None, :], use_cache=False)[0]
        # The first token of a canvas has no row before it and is read from its own.
        rows = masked - self.offset * (masked % token_ids.shape[1] > 0)
        logits = head(states.flatten(0, 1)[rows])
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        loss = (losses * weights).sum()
        if self.training:
            return {"loss": loss}
        num_rows, length = token_ids.shape
        row_losses = losses.new_zeros(num_rows).index_add(0, masked // length, losses * weights * num_rows)
        return {"loss": loss, "row_losses": row_losses}
