"""Logging in at an OpenID provider: an authorization code with PKCE, exchanged by the server.

claims.py     what the provider says of somebody, as a name and what that one may; pure
provider.py   the provider over HTTP, by authlib: needs the extra `oidc`, and is imported where the settings name one
journey.py    what a browser carries from the login page to the provider and back
"""

from .claims import NamelessError, Person, Rights, client_mark, person_of, rights_of
from .errors import ProviderError
from .journey import Journey, Journeys, LoginProblem
from .opening import Provider, open_provider

__all__ = [
    "Journey",
    "Journeys",
    "LoginProblem",
    "NamelessError",
    "Person",
    "Provider",
    "ProviderError",
    "Rights",
    "client_mark",
    "open_provider",
    "person_of",
    "rights_of",
]
