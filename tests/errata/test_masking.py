import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from errata.masking import CARD, E_MAIL, PHONE, RESIDENT_NUMBER, mask, mask_bytes, mask_event
from tests.builders import a_prediction_event, a_voc_event

PERSONAL = {
    "제 번호는010-1234-5678이에요": f"제 번호는{PHONE}이에요",
    "전화 01012345678 로 주세요": f"전화 {PHONE} 로 주세요",
    "010.1234.5678": PHONE,
    "０１０－１２３４－５６７８": PHONE,
    "02-123-4567": PHONE,
    "02)123-4567로": f"{PHONE}로",
    "(02) 123-4567": PHONE,
    "매장 031-123-4567": f"매장 {PHONE}",
    "070-1234-5678": PHONE,
    "+82-10-1234-5678": PHONE,
    "+82 10 1234 5678": PHONE,
    "+821012345678": PHONE,
    "0082-10-1234-5678": PHONE,
    "+82 (0)10-1234-5678": PHONE,
    "call +1 415 555 2671 now": f"call {PHONE} now",
    "+1 (415) 555-2671.": f"{PHONE}.",
    "+14155552671": PHONE,
    "+44 20 7946 0958": PHONE,
    "+81-3-1234-5678": PHONE,
    "kim@example.co.kr으로 보내주세요": f"{E_MAIL}으로 보내주세요",
    "(a.b+c@d-e.com)": f"({E_MAIL})",
    "4111 1111 1111 1111": CARD,
    "카드는 5500-0000-0000-0004예요.": f"카드는 {CARD}예요.",
    "4111111111111111입니다": f"{CARD}입니다",
    "Amex 3782 822463 10005": f"Amex {CARD}",
    "4222222222222": CARD,
    "6304000000000000000": CARD,
    "900101-1234567": RESIDENT_NUMBER,
    "주민번호 900101 - 2234567": f"주민번호 {RESIDENT_NUMBER}",
    "９００１０１－１２３４５６７": RESIDENT_NUMBER,
    "010-1234-5678, 4111-1111-1111-1111, a@b.co": f"{PHONE}, {CARD}, {E_MAIL}",
}

ORDINARY = [
    "주문번호 2024011512345678 배송이 안 와요",
    "주문번호 20240115-0001234",
    "ORD4111111111111111",
    "가격은 1,234,567원입니다",
    "15,000 20,000 30,000",
    "2024-01-15 12:30:45.123456",
    "2024.01.15",
    "2026-11-23T06:30:00Z",
    "UTC+09:00",
    "01a2090a-4fd1-7a5a-a81b-79169d67f223",
    "01234567-1111-7111-8111-411111111111",
    "0.4111111111111111",
    "3.14159265358979",
    "1732345678901234",
    "4111 1111 1111 1112",
    "운송장 6012345678901",
    "사업자 123-45-67890",
    "고객센터 1588-1234",
    "버전 10.12.3456",
    "192.168.0.101",
    "12:34:56에 멈췄어요",
    "+5 points, +30%",
    "iPhone 15 Pro 256",
    "100-200 people @ noon",
    "결제가 두 번 됐어요. 3번째 오류입니다",
]


@pytest.mark.parametrize("text", PERSONAL)
def test_personal_data_becomes_its_kind(text):
    assert mask(text) == PERSONAL[text]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_numbers_stay(text):
    assert mask(text) == text


pieces = st.sampled_from(
    [*PERSONAL, *ORDINARY, " ", "-", "+", "@", ".", "0", "4111", "번호", CARD]
) | st.text(max_size=5)


@given(st.lists(pieces, max_size=8).map("".join))
@example("4111-1111-1111-1111-010-1234-5678")
@example("a@b.co@d.com")
def test_masking_twice_changes_nothing_more(text):
    assert mask(mask(text)) == mask(text)


@given(
    st.sampled_from(list(PERSONAL)), st.text("가나다 .,!?()", max_size=10), st.text("가나다 !?", max_size=10)
)
def test_personal_data_is_found_in_any_korean_sentence(text, before, after):
    assert PERSONAL[text] in mask(f"{before} {text} {after}")


def luhn(body):
    return next(body + check for check in "0123456789" if _is_luhn(body + check))


def _is_luhn(digits):
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


@given(st.from_regex(r"[34569][0-9]{11,17}", fullmatch=True), st.sampled_from(["", " ", "-"]))
def test_every_card_number_is_masked_in_groups_of_four(body, gap):
    number = luhn(body)
    assert mask("카드 " + gap.join(number[i : i + 4] for i in range(0, len(number), 4))) == f"카드 {CARD}"


@given(st.binary())
def test_bytes_that_are_no_text_survive(raw):
    assert mask_bytes(mask_bytes(raw)) == mask_bytes(raw)
    if not any(48 <= byte <= 57 or byte == 64 for byte in raw):
        assert mask_bytes(raw) == raw


def test_bytes_are_masked_around_broken_ones():
    assert mask_bytes("\xff 번호 010-1234-5678".encode() + b"\xff") == f"\xff 번호 {PHONE}".encode() + b"\xff"


def test_only_what_a_customer_wrote_is_masked_in_an_event():
    said = a_voc_event(text="010-1234-5678로 전화 주세요")
    assert mask_event(said).data.text == f"{PHONE}로 전화 주세요"
    assert mask_event(said).id == said.id
    shown = a_prediction_event(output="4111 1111 1111 1111")
    assert mask_event(shown) is shown


@pytest.mark.parametrize(
    "text", ["1" * 10_000, "1-" * 5_000, "a@" * 5_000, "+1 " * 3_000, "a." * 5_000 + "@", "(0" * 5_000]
)
@pytest.mark.timeout(10)
def test_hostile_text_of_full_length_is_masked_in_time(text):
    mask(text)
