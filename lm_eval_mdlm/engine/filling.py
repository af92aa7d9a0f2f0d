"""How rows are filled: what each row's policy chooses, the tokens that this takes, and what ends a row."""

from collections.abc import Sequence

from .change import NOWHERE, Change
from .choosing import choose
from .job import Kind
from .proposing import Wish, propose
from .query import Reading
from .readout import Readout
from .row import Row


class Filling(Kind):
    """Commits what each row's policy picks from a pass, at the tokens that the pass proposes."""

    def decide(self, jobs: Sequence[Row], reading: Reading, readout: Readout) -> list[Change]:
        choices = choose(jobs, reading, readout)
        exits = [row.exits(choice.seen) for row, choice in zip(jobs, choices, strict=True)]
        wishes, remasked = [], []
        for row, choice, (exited, _) in zip(jobs, choices, exits, strict=True):
            # The pass that fires the exit is the row's last: the answer takes its proposals, reasoning masks stay. One
            # that reaches the cap commits as ever, and an answer too, since no later pass will.
            commit = row.wanted_answer if exited else choice.commit
            if row.next_is_last:
                commit = commit | row.wanted_answer
            wishes.append(Wish(row, choice.seen, commit.nonzero()[0], choice.bias))
            stays = exited or row.next_is_last
            remasked.append(NOWHERE if stays else row.wanted[choice.remask])
        # What a policy drew itself is not drawn again.
        proposed = iter(propose(readout, [wish for i, wish in enumerate(wishes) if choices[i].tokens is None]))
        return [
            Change(
                positions=row.wanted[wish.picked],
                tokens=next(proposed) if (own := choices[i].tokens) is None else own[wish.picked],
                remasked=remasked[i],
                answer_entropy=row.entropy_of_answer(choices[i].seen.entropy),
                exited=exits[i][0],
                log_probs=choices[i].seen.log_prob if row.plan.gold else None,
                memory=choices[i].memory,
                exit_memory=exits[i][1],
                kept=choices[i].kept,
            )
            for i, (row, wish) in enumerate(zip(jobs, wishes, strict=True))
        ]
