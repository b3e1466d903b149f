"""What is known of vendors and their models, as data: one file each in ``vendors/``, with dates and sources."""

from gateway.catalog.reading import CatalogError, vendor, vendors
from gateway.catalog.shapes import Ability, Profile, Traits, Vendor

__all__ = ["Ability", "CatalogError", "Profile", "Traits", "Vendor", "vendor", "vendors"]
