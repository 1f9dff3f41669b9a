"""Windows as tests of the dashboard need them."""

from zoneinfo import ZoneInfo

from quality import histogram
from quality.histogram import bucket_of
from storage.records import Window

SEOUL = ZoneInfo("Asia/Seoul")
MINUTE_US = 60_000_000
#: 2026-11-23 14:00 in Seoul.
START_US = 1_795_410_000_000_000
NOW_US = START_US + 3_600_000_000


def a_window(minute: int = 0, **given) -> Window:
    values = {
        "model": "card-reader",
        "version": "1",
        "slice": "all",
        "minute_us": START_US + minute * MINUTE_US,
        "n": 100,
        "n_edit": 4,
        "n_accept": 60,
        "n_reject": 1,
        "n_distance": 64,
        "distance_ppm": 400_000,
        "distance_ppm_squares": 40_000,
        "served": histogram.encode({bucket_of(20_000): 90, bucket_of(80_000): 10}),
        "shown": histogram.encode({bucket_of(200_000): 65}),
    }
    return Window(**(values | given))
