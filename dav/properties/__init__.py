"""Properties: the PROPERTIES table, reading them for answers, and changing them for PROPPATCH and MKCOL."""

from __future__ import annotations

from dav.properties.change import Outcome as Outcome
from dav.properties.change import parse_changes as parse_changes
from dav.properties.change import propstats as propstats
from dav.properties.change import update as update
from dav.properties.listing import Listing as Listing
from dav.properties.listing import listing_of as listing_of
from dav.properties.listing import members as members
from dav.properties.read import check_names as check_names
from dav.properties.read import parse_optional_selection as parse_optional_selection
from dav.properties.read import parse_prop as parse_prop
from dav.properties.read import parse_selection as parse_selection
from dav.properties.read import respond as respond
from dav.properties.table import PROPERTIES as PROPERTIES
