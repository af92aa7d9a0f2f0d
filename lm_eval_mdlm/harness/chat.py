"""Contexts to token ids: special tokens, chat templates and system prompts as the harness wants them."""

from typing import Any

from ..errors import UsageError


class ChatTokenizer:
    """The checkpoint's tokenizer as the adapter uses it.

    A context that a chat template rendered holds its special tokens already, so none are added to it; any other gets
    the tokenizer's own default. `add_bos_token` overrides both.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._source: str | None = None

    def source(self, chat_template: bool | str) -> str | None:
        """The text of the chat template that `render` is to use; None if none is to be applied.

        Raises:
            UsageError: If the tokenizer has no chat template, or none of the name asked for.
        """
        if chat_template is False or chat_template is None:
            return None
        known = self.tokenizer.chat_template
        name = chat_template if isinstance(chat_template, str) else "default"
        if isinstance(known, dict) and name in known:
            self._source = known[name]
        elif isinstance(known, str) and chat_template is True:
            self._source = known
        else:
            names = ", ".join(known) if isinstance(known, dict) else "one without a name" if known else "none"
            raise UsageError(f"--apply_chat_template: the tokenizer has no chat template {name!r}; it has {names}.")
        return self._source

    def render(self, chat_history: list[dict[str, str]], add_generation_prompt: bool) -> str:
        """The conversation as text; a last assistant message is left open if no generation prompt is to follow."""
        from jinja2 import TemplateError

        source = self._source or self.source(True)
        try:
            text: str = self.tokenizer.apply_chat_template(
                chat_history,
                chat_template=source,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except (TemplateError, ValueError) as error:
            roles = ", ".join(message["role"] for message in chat_history)
            reason = " ".join(str(error).split())
            raise UsageError(
                f"--apply_chat_template: the chat template refuses the roles {roles} ({reason})."
            ) from None
        return text

    def encode(self, context: str, add_bos_token: bool | None) -> list[int]:
        """Token ids of a context."""
        bos = getattr(self.tokenizer, "bos_token", None)
        if add_bos_token is None:
            rendered = self._source is not None or bool(bos and context.startswith(bos))
            ids: list[int] = self.tokenizer.encode(context, add_special_tokens=not rendered)
            return ids
        ids = self.tokenizer.encode(context, add_special_tokens=False)
        if not add_bos_token:
            return ids
        if bos is None:
            raise UsageError("add_bos_token=True, and the tokenizer has no beginning-of-text token; leave it out.")
        return ids if ids[:1] == [self.tokenizer.bos_token_id] else [self.tokenizer.bos_token_id, *ids]
