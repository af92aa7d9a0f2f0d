"""Calls between two processes: test and program, each of which may call what the other has handed to it.

The same code runs on both sides; what it grants the other side is an argument. An exception travels by the name of its
nearest built-in class, so that `except ValueError` in a test catches what it would catch in one process.
"""

import functools
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .exchange import MAX_VALUE_BYTES, Channel, TooLong, describe
from .heap import Heap
from .stand_ins import abilities, stand_in
from .values import TYPES, subclass


Operation = Callable[..., Any]
Failure = tuple[str, str, tuple[Any, ...], str]
"""Of an exception: its nearest built-in class, its own class, arguments and text."""

_MAX_TEXT = 10_000  # characters of an exception's text


class Gone(BaseException):
    """The conversation is over; not an Exception, so that no test catches it by accident."""


class Peer:
    """One end of the conversation."""

    ENDED = "it has ended"

    def __init__(
        self,
        channel: Channel,
        *,
        first_handle: int,
        operations: Mapping[str, Operation],
        commands: Mapping[str, Operation],
    ) -> None:
        """Open a conversation.

        Args:
            channel: To the other side.
            first_handle: 0 on one side, 1 on the other.
            operations: What the other side may do to objects of this side for which it has stand-ins.
            commands: What else it may ask for.
        """
        self._channel = channel
        self._operations, self._commands = operations, commands
        self._heap = Heap(first_handle, functools.partial(stand_in, self.ask), abilities)
        self.over: str | None = None
        """Why it is over, for good; None before."""
        self._lock = threading.RLock()  # the conversation belongs to one thread at a time

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Let the other side do something, and return or raise what came of it; answers its questions meanwhile.

        Raises:
            Gone: If no answer that makes sense comes.
            TooLong: If the arguments are.
        """
        with self._lock:
            self._send("ask", [(operation, arguments)])
            while True:
                kind, box = self._receive()
                if kind == "return":
                    return box.pop()
                if kind == "raise":
                    raise _rebuilt(*box.pop())
                self._answer(box)

    def serve(self) -> None:
        """Answer until the other side is gone, which is raised."""
        while True:
            with self._lock:
                _, box = self._receive()
            # Without the lock, so that threads of the program may ask while its function waits for them.
            kind, outcome = self._outcome(box)
            with self._lock:
                self._reply(kind, outcome)

    def _answer(self, question: list[Any]) -> None:
        kind, outcome = self._outcome(question)
        self._reply(kind, outcome)

    def _reply(self, kind: str, outcome: list[Any]) -> None:
        """Send what came of a question; as a failure if it has no form."""
        try:
            self._send(kind, outcome)
        except (Exception, RecursionError) as error:
            base, name, _, text = _taken_apart(error)
            self._send("raise", [(base, name, (), text)])

    def _outcome(self, question: list[Any]) -> tuple[str, list[Any]]:
        """What becomes of a question, in a list of one, so that no variable keeps it once it is sent."""
        try:
            operation, arguments = question.pop()
            if operation in self._commands:
                return "return", [self._commands[operation](*arguments)]
            handle, *more = arguments
            if handle not in self._heap.exported or operation not in self._operations:
                raise AttributeError(f"{operation!r} is not offered here")
            return "return", [self._operations[operation](self._heap.objects[handle], *more)]
        except Gone:
            raise
        except BaseException as error:
            return "raise", [_taken_apart(error)]

    def _send(self, kind: str, box: list[Any]) -> None:
        if self.over:
            raise Gone(self.over)
        part, lines = self._heap.dump(box.pop(), MAX_VALUE_BYTES)
        forgotten = [] if kind == "ask" else self._heap.sweep()
        try:
            self._channel.send("\n".join([f'["{kind}",{part},{json.dumps(forgotten)}]', *lines]).encode())
        except BrokenPipeError:
            raise self._end(self.ENDED) from None

    def _receive(self) -> tuple[str, list[Any]]:
        try:
            header, *lines = self._channel.receive().decode("ascii").split("\n")
            kind, part, forgotten = json.loads(header)
            self._heap.load(lines)
            box = [self._heap.value(part)]
            self._heap.forget(forgotten)
            if kind not in ("ask", "return", "raise"):
                raise ValueError(f"{kind!r} is no kind of message")
            return kind, box
        except EOFError:
            raise self._end(self.ENDED) from None
        except TooLong as error:
            raise self._end(str(error)) from None
        except Exception as error:  # a forged message can break its reader in any way
            raise self._end(f"an unreadable result, {describe(error)}") from None

    def _end(self, reason: str) -> Gone:
        self.over = reason
        return Gone(reason)


def _taken_apart(error: BaseException) -> Failure:
    base = next(cls for cls in type(error).__mro__ if TYPES.get(cls.__name__) is cls)
    try:
        text = str(error)
    except BaseException:
        text = ""
    return base.__name__, type(error).__name__, error.args, text[:_MAX_TEXT]


def _rebuilt(base_name: str, name: str, arguments: tuple[Any, ...], text: str) -> BaseException:
    base = TYPES[base_name]
    if not issubclass(base, BaseException):
        return Exception(f"{name}: {text}")
    cls: Any = base if name == base_name else subclass(base, name)  # type: ignore[arg-type]  # types have hashes
    for attempt in (arguments or (text,), (text,)):
        try:
            error = cls(*attempt)
        except Exception:
            continue
        if isinstance(error, BaseException):
            return error
    return Exception(f"{name}: {text}")
