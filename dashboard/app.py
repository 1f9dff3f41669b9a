"""The dashboard: `streamlit run dashboard/app.py -- --settings FILE`; without it, `$ERRATA_SETTINGS`."""

import streamlit as st

from dashboard.screens import alerts, batches, intake, online, quality, runs, voc

#: In pixels: what a narrow window can spare.
SIDEBAR_WIDTH = 200

st.set_page_config(page_title="Errata", layout="wide", initial_sidebar_state=SIDEBAR_WIDTH)
st.navigation(
    {
        "Errata": [
            st.Page(quality.show, title="Quality", url_path="quality", default=True),
            st.Page(online.show, title="Online numbers", url_path="online"),
            st.Page(voc.show, title="VOC", url_path="voc"),
            st.Page(batches.show, title="Labeling", url_path="labeling"),
            st.Page(runs.show, title="Runs", url_path="runs"),
            st.Page(alerts.show, title="Alerts", url_path="alerts"),
            st.Page(intake.show, title="Intake", url_path="intake"),
        ]
    }
).run()
