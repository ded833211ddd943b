"""Placeholder text replaced by the part that lives here."""
