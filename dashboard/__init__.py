"""Let people see: screens for product managers and engineers. All it writes is the status of a VOC."""
