"""A camera for tests: serves a file of H.264 as rtsp://127.0.0.1:PORT/cam, from the start for each viewer.

Run by the system's Python, which has GStreamer's bindings:
`/usr/bin/python3 rtsp_server.py FILE PORT FRAMES_PER_SECOND [USER PASSWORD]`. The rate is that of sending, whatever the
pictures are stamped with; 0 is as they are stamped.
Prints "ready PORT" once it listens. PORT 0 is any free one.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  a version has to be chosen first


def main() -> None:
    path, port, rate, *login = sys.argv[1:]
    wait = f"identity sleep-time={round(1e6 / float(rate))} !" if float(rate) else ""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f'( filesrc location="{path}" ! qtdemux ! h264parse ! {wait} rtph264pay name=pay0 pt=96 config-interval=1 )'
    )
    if login:
        role = GstRtspServer.RTSPToken()
        role.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)  # noqa: FBT003
        permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)  # noqa: FBT003
        factory.set_permissions(permissions)
        auth = GstRtspServer.RTSPAuth()
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login), role)
        server.set_auth(auth)
    server.get_mount_points().add_factory("/cam", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} cannot be had")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
