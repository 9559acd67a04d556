#!/opt/clipline/bin/python
"""The health check of an agent or worker in its container: 0 while its own /livez answers 200, else 1."""

import http.client
import os
import sys

# No proxy is asked, whatever the environment says.
connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["CLIPLINE_METRICS__PORT"]), timeout=4)
try:
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    sys.stdout.write(answer.read().decode())
    sys.exit(answer.status != http.HTTPStatus.OK)
except OSError as error:
    sys.exit(f"{connection.host}:{connection.port}: {error}")
