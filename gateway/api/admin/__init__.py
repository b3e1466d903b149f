"""The admin page's JSON API, behind the admin's session."""
