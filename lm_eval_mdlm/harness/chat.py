"""Contexts to token ids: special tokens, chat templates and system prompts as the harness wants them."""

from collections.abc import Callable, Mapping
from typing import Any

from ..canvas.encoding import Encoded, TextEncoder
from ..errors import UsageError


class ChatTokenizer:
    """The checkpoint's tokenizer as the adapter uses it; it remembers nothing of a run.

    A context that a chat template rendered holds its special tokens already, so none are added to it; any other gets
    the tokenizer's own default. `add_bos_token` overrides both.

    Args:
        encoder: Of the checkpoint.
        template_arguments: More variables of the chat template, such as `enable_thinking`.
    """

    def __init__(self, encoder: TextEncoder, template_arguments: Mapping[str, Any]) -> None:
        self._encoder = encoder
        self.tokenizer: Any = encoder.tokenizer
        self._arguments = dict(template_arguments)

    def source(self, chat_template: bool | str) -> str | None:
        """The text of a chat template; None if none is to be applied.

        Raises:
            UsageError: If the tokenizer has no chat template, or none of the name asked for.
        """
        if chat_template is False or chat_template is None:
            return None
        known = self.tokenizer.chat_template
        name = chat_template if isinstance(chat_template, str) else "default"
        if isinstance(known, dict) and name in known:
            source: str = known[name]
            return source
        if isinstance(known, str) and chat_template is True:
            return known
        names = ", ".join(known) if isinstance(known, dict) else "one without a name" if known else "none"
        raise UsageError(f"--apply_chat_template: the tokenizer has no chat template {name!r}; it has {names}.")

    def render(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool,
        *,
        source: str | None,
        warn: Callable[[str], None],
    ) -> str:
        """The conversation as text; a last assistant message is left open if no generation prompt is to follow.

        Where the template refuses a system turn, that turn is dropped with a warning, as lm_eval's `hf` does.

        Args:
            chat_history: Roles and contents.
            add_generation_prompt: Whether the model is to begin a turn.
            source: From `source`; the default template if None.
            warn: Takes a line.

        Raises:
            UsageError: If there is no template, or it refuses the roles.
        """
        from jinja2 import TemplateError

        source = source or self.source(True)
        reason = ""
        for turns in (chat_history, [message for message in chat_history if message["role"] != "system"]):
            try:
                text = self._rendered(turns, add_generation_prompt, source)
            except (TemplateError, ValueError) as error:
                reason = reason or " ".join(str(error).split())
                continue
            if turns is not chat_history:
                warn(f"the chat template has no system role ({reason}): system turns are left out of the prompts.")
            return text
        roles = ", ".join(message["role"] for message in chat_history)
        raise UsageError(f"--apply_chat_template: the chat template refuses the roles {roles} ({reason}).")

    def _rendered(self, chat_history: list[dict[str, str]], add_generation_prompt: bool, source: str | None) -> str:
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            chat_template=source,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self._arguments,
        )
        return text

    def encode(self, context: str, add_bos_token: bool | None, *, rendered: bool) -> Encoded:
        """Token ids of a context.

        Args:
            context: The text.
            add_bos_token: Whether it begins with the beginning-of-text token; None for the tokenizer's own default.
            rendered: Whether a chat template has written it.

        Raises:
            UsageError: If a beginning of text is wanted and the tokenizer has none.
        """
        bos = getattr(self.tokenizer, "bos_token", None)
        if add_bos_token is None:
            has_bos = bool(bos and context.startswith(bos))
            return self._encoder.encode(context, add_special_tokens=not (rendered or has_bos))
        encoded = self._encoder.encode(context, add_special_tokens=False)
        if not add_bos_token:
            return encoded
        if bos is None:
            raise UsageError("add_bos_token=True, and the tokenizer has no beginning-of-text token; leave it out.")
        start = self.tokenizer.bos_token_id
        ids = encoded.token_ids if encoded.token_ids[:1] == [start] else [start, *encoded.token_ids]
        return Encoded(ids, encoded.held_mask)
