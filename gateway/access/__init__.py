"""Who may come in: virtual keys and the admin's."""
