"""How processes log: one line per event on standard error, which whoever started the process collects."""

import logging


def configure_logging() -> None:
    """Log what Errata says from INFO, and what its libraries say from WARNING."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    for room in ("errata", "streams", "storage", "labeling", "retrain"):
        logging.getLogger(room).setLevel(logging.INFO)
