"""Let people see: screens for product managers and engineers. It reads; the one thing it writes is a VOC's status."""
