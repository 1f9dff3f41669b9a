"""The screen Alerts: what is wrong now, what was, and whom Errata told."""

import streamlit as st

from dashboard import cached_reads as reads
from dashboard import frame, tables
from dashboard.wording import ago, full_moment, span, tell_delivery, with_local_times
from errata.settings import Settings, is_loopback
from storage.records import Alert, Delivery

ALERTS_SHOWN = 200


@frame.guarded
def show() -> None:
    """Open alerts, the channels with a button to try them, and all alerts one by one."""
    settings = reads.read_settings()
    frame.title("Alerts", "What is wrong now, what was, and whom Errata told.")
    _show_open()
    _show_channels(settings)
    _show_history(settings)


@st.fragment(run_every=5)
@frame.guarded
def _show_open() -> None:
    found = reads.list_open_alerts()
    st.subheader(f"Open: {len(found)}", anchor=False)
    if not found:
        frame.show_text("No alert is open.")
    for alert in found:
        with st.container(border=True):
            _show_alert(alert, reads.read_deliveries([alert.id]))


def _show_alert(alert: Alert, deliveries: list[Delivery]) -> None:
    now_us = reads.now_us()
    frame.show_text(f"{alert.severity.upper()}  {alert.title}")
    frame.show_text(with_local_times(alert.sentence, reads.time_zone(reads.read_settings()), now_us))
    told = "; ".join(f"{each.channel}: {tell_delivery(each, now_us)}" for each in deliveries)
    since = f"since {span(now_us - alert.opened_us)}, last seen {ago(alert.last_seen_us, now_us)}"
    frame.show_caption(f"{alert.key}, {since}. {told or 'No channel is told.'}")


def _show_channels(settings: Settings) -> None:
    st.subheader("Channels", anchor=False)
    channels = settings.alerts.channels
    if not channels:
        frame.show_text("Nobody is told: there is no [alerts.channels.NAME] table in the settings.")
        return
    frame.show_table(tables.channel_table(channels))
    if not is_loopback(settings.dashboard.host):
        frame.show_text("Others can reach this page, so a test is sent from the terminal:")
        st.code("errata alerts test", language=None)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        channel = st.selectbox("Channel", list(channels), key="channel", width=220)
        if st.button("Send a test") and channel:
            reads.try_channel(channel)
    _show_trial(channel)


@st.fragment(run_every=2)
@frame.guarded
def _show_trial(channel: str) -> None:
    """What became of the latest test of a channel; a worker sends it."""
    latest = reads.find_trial(channel)
    if latest is None:
        return
    now_us = reads.now_us()
    became = [tell_delivery(each, now_us) for each in reads.read_deliveries([latest.id])]
    frame.show_text(
        f"The test of {channel}, asked for {ago(latest.opened_us, now_us)}: {'; '.join(became) or 'waits for a worker'}"
    )


def _show_history(settings: Settings) -> None:
    st.subheader("History", anchor=False)
    found = reads.list_alerts(ALERTS_SHOWN)
    if not found:
        frame.show_text("No alert was ever raised.")
        return
    zone = reads.time_zone(settings)
    list_side, detail_side = st.columns([5, 4], gap="large")
    with list_side:
        chosen = frame.choose_row(tables.alert_table(found, zone), [alert.id for alert in found], "alerts")
    with detail_side:
        alert = next((each for each in found if each.id == chosen), None)
        if alert is None:
            frame.show_text("Choose an alert on the left to see whom it was told to.")
            return
        frame.show_text(f"{alert.severity.upper()}  {alert.title}")
        frame.show_text(
            with_local_times(alert.sentence, reads.time_zone(reads.read_settings()), reads.now_us())
        )
        frame.show_caption(alert.key)
        if alert.resolution is not None and alert.resolved_us is not None:
            frame.show_text(f"Resolved {full_moment(alert.resolved_us, zone)}: {alert.resolution}")
        frame.show_table(tables.delivery_table(reads.read_deliveries([alert.id]), zone, reads.now_us()))
