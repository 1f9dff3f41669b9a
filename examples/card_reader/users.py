"""What customers do to a reading of their card: they know the truth, and most, not all, act on it."""

import random
from dataclasses import dataclass
from typing import Literal

Fields = dict[str, str]

EDITS_A_WRONG_READING = 0.85
MISTAKEN_EDIT = 0.02
EDITS_A_RIGHT_READING = 0.002
ACCEPTS_A_RIGHT_READING = 0.15
COMPLAINS = 0.06
PRAISES = 0.003

COMPLAINTS = (
    ("카드 번호가 자꾸 틀리게 인식돼요. 매번 고쳐야 합니다.", "ko", 2),
    ("앱 업데이트 후에 카드 인식이 거의 안 됩니다.", "ko", 1),
    ("유효기간을 잘못 읽어서 결제가 실패했어요.", "ko", 2),
    ("빛이 반사되면 숫자를 못 읽네요.", "ko", 3),
    ("The card number is read wrong again and again.", "en", 2),
    ("Since the new phone the scanner fails on half of my cards.", "en", 1),
    ("It takes longer to fix the digits than to type them.", "en", 3),
    ("Reads 1 as 7. Please call me at 010-1234-5678.", "en", 2),
)
PRAISE = (
    ("카드 등록이 정말 빨라졌어요.", "ko", 10),
    ("Scanning my card just works, thank you.", "en", 9),
)


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a customer does and when, and what they say about it."""

    action: Literal["edit", "accept", None]
    corrected: Fields | None
    delay_seconds: float
    comment: tuple[str, str, int] | None


def react(shown: Fields, truth: Fields, rng: random.Random) -> Reaction:
    """Draw the reaction of a customer whose card says `truth` and who was shown `shown`."""
    delay_seconds = min(rng.lognormvariate(1.1, 0.9), 120.0)
    is_right = shown == truth
    comment = None
    if rng.random() < (PRAISES if is_right else COMPLAINS):
        comment = rng.choice(PRAISE if is_right else COMPLAINTS)
    if is_right:
        if rng.random() < EDITS_A_RIGHT_READING:
            return Reaction("edit", mistake(truth, rng), delay_seconds, comment)
        action: Literal["accept", None] = "accept" if rng.random() < ACCEPTS_A_RIGHT_READING else None
        return Reaction(action, None, delay_seconds, comment)
    if rng.random() >= EDITS_A_WRONG_READING:
        return Reaction(None, None, delay_seconds, comment)
    corrected = mistake(truth, rng) if rng.random() < MISTAKEN_EDIT else truth
    return Reaction("edit", corrected, delay_seconds, comment)


def mistake(truth: Fields, rng: random.Random) -> Fields:
    """`truth` with one digit of the number mistyped."""
    place = rng.randrange(len(truth["number"]))
    wrong = str((int(truth["number"][place]) + rng.randrange(1, 10)) % 10)
    return truth | {"number": truth["number"][:place] + wrong + truth["number"][place + 1 :]}
