import gc
import socket
import time
import warnings

from bench.chaos.proxy import Proxy


def test_a_proxy_that_is_closed_while_connections_are_made_leaves_none_open():
    with socket.create_server(("127.0.0.1", 0)) as upstream, warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        for place in range(25):
            proxy = Proxy(upstream.getsockname()[1])
            clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(5)]
            # Closed at another place on the way each time.
            time.sleep(place / 10_000)
            proxy.close()
            for client in clients:
                client.close()
        del proxy
        gc.collect()
    assert left == []
