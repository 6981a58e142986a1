"""All that Admin has, for web.app: its pages and its part of the API.

The API's routes of products and stations take whatever follows in the address for a name, which may hold a
slash: they come after all others.
"""

from typing import Final

from web.admin import logins, people, products, readouts, retention, stations, tokens
from web.admin.api import people as people_api
from web.admin.api import products as products_api
from web.admin.api import retention as retention_api
from web.admin.api import settings as settings_api
from web.admin.api import stations as stations_api
from web.admin.api import tokens as tokens_api

PARTS: Final = (
    *(readouts, products, stations, tokens, people, logins, retention),
    *(people_api, tokens_api, retention_api, settings_api, stations_api, products_api),
)
