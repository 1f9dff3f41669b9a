import threading

from streams.progress import EXIT_STALLED, Progress, Watchdog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_last_sign_of_life():
    clock = Clock()
    progress = Progress(clock)
    clock.now = 130.0
    assert progress.silent_seconds() == 30.0
    progress.beat()
    assert progress.silent_seconds() == 0.0


def test_a_worker_without_progress_is_ended_with_every_stack_written(capfd):
    clock, ended = Clock(), threading.Event()
    statuses: list[int] = []

    def end_process(status: int) -> None:
        statuses.append(status)
        ended.set()

    watchdog = Watchdog(Progress(clock), limit_seconds=0.1, end_process=end_process)
    watchdog.start()
    clock.now += 1.0
    assert ended.wait(20)
    watchdog.stop()
    assert statuses == [EXIT_STALLED]
    assert "most recent call first" in capfd.readouterr().err


def test_a_worker_that_makes_progress_is_left_alone():
    clock, looked = Clock(), threading.Event()
    statuses: list[int] = []

    class Busy(Progress):
        looks = 0

        def silent_seconds(self) -> float:
            self.looks += 1
            if self.looks > 3:
                looked.set()
            return super().silent_seconds()

    watchdog = Watchdog(Busy(clock), limit_seconds=0.1, end_process=statuses.append)
    watchdog.start()
    assert looked.wait(20)
    watchdog.stop()
    assert statuses == []
