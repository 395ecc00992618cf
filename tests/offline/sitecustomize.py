"""Where PYTHONPATH names its folder, every Python process imports this first: whoever leaves this machine is stopped and named.

AIRD_OFFLINE_LOG is the file that the names go to, because a library may swallow the error.
"""

import ipaddress
import os
import sys
import traceback

LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")


def stays_here(event: str, args: tuple) -> bool:
    """Of an audit event: whether it is none of the network, or of this machine's own."""
    if event in LOOKUPS:
        host = args[0]
    elif event in SENDS:
        # A path of AF_UNIX is text; an address of a connected socket is None.
        host = args[1][0] if isinstance(args[1], tuple) else None
    else:
        return True
    host = host.decode() if isinstance(host, bytes) else host
    try:
        return host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse(event: str, args: tuple) -> None:
    """The audit hook."""
    if not stays_here(event, args):
        with open(os.environ["AIRD_OFFLINE_LOG"], "a") as file:
            file.write(f"{event} {args[:2]}\n{''.join(traceback.format_stack(limit=8))}\n")
        raise OSError(f"no network here: {event} {args[:2]}")


sys.addaudithook(refuse)
