"""The routers of models and drift, in the order in which addresses are looked up: fixed words before ids."""

from typing import Final

from web.drift import api as drift_api
from web.drift import pages as drift
from web.drift import plotting
from web.golden import api as golden_api
from web.golden import pages as golden
from web.models import api, pages
from web.rescoring import api as rescoring_api
from web.rescoring import pages as rescoring
from web.training import api as training_api
from web.training import pages as training

PARTS: Final = (
    training,
    golden,
    rescoring,
    pages,
    drift,
    plotting,
    api,
    training_api,
    golden_api,
    rescoring_api,
    drift_api,
)
