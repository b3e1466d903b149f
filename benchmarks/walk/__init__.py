"""The parts of the demo walk: processes, the admin API, the display and the phases."""
