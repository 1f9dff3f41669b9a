"""A stand-in for a broker that takes whatever is produced and keeps nothing: what a client can do, not a broker.

It answers three requests of Kafka's protocol: which versions it speaks, what the cluster looks like (this server
leads all partitions of every topic), and Produce, which it acknowledges as soon as all bytes are there. It looks
neither into batches nor at their checksums.
"""

import socketserver
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from kafka.protocol.metadata import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.protocol.producer import ProduceRequest, ProduceResponse

_FRAME: Final = struct.Struct(">i")
_KEY_AND_VERSION: Final = struct.Struct(">hh")
#: What is said to be spoken; kafka-python asks for nothing later.
_LATEST_VERSION: Final = 9


class Sink(socketserver.ThreadingTCPServer):
    """Listens on a port of this machine."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, n_partitions: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.n_partitions = n_partitions


class _Connection(socketserver.StreamRequestHandler):
    server: Sink
    rbufsize = 1 << 20

    def handle(self) -> None:
        while len(size := self.rfile.read(_FRAME.size)) == _FRAME.size:
            frame = self.rfile.read(_FRAME.unpack(size)[0])
            key, version = _KEY_AND_VERSION.unpack_from(frame)
            kind, answer = self._answers()[key]
            request = kind.decode(frame, version=version, header=True)
            response = answer(request)
            response.API_VERSION = version
            response.with_header(correlation_id=request.header.correlation_id)
            self.wfile.write(response.encode(header=True, framed=True))

    def _answers(self) -> dict[int, tuple[Any, Callable[[Any], Any]]]:
        return {
            kind.API_KEY: (kind, answer)
            for kind, answer in (
                (ApiVersionsRequest, self._tell_versions),
                (MetadataRequest, self._describe),
                (ProduceRequest, self._take),
            )
        }

    def _tell_versions(self, _: Any) -> Any:
        kinds = (ApiVersionsRequest, MetadataRequest, ProduceRequest)
        spoken = [
            ApiVersionsResponse.ApiVersion(
                api_key=kind.API_KEY, min_version=0, max_version=min(_LATEST_VERSION, kind.max_version)
            )
            for kind in kinds
        ]
        return ApiVersionsResponse(error_code=0, api_keys=spoken, throttle_time_ms=0)

    def _describe(self, request: Any) -> Any:
        host, port = self.server.server_address[:2]
        broker = MetadataResponse.MetadataResponseBroker(node_id=1, host=host, port=port, rack=None)
        partition = MetadataResponse.MetadataResponseTopic.MetadataResponsePartition
        topics = [
            MetadataResponse.MetadataResponseTopic(
                error_code=0,
                name=topic.name,
                is_internal=False,
                partitions=[
                    partition(
                        error_code=0,
                        partition_index=index,
                        leader_id=1,
                        leader_epoch=0,
                        replica_nodes=[1],
                        isr_nodes=[1],
                        offline_replicas=[],
                    )
                    for index in range(self.server.n_partitions)
                ],
            )
            for topic in request.topics or []
        ]
        return MetadataResponse(
            throttle_time_ms=0, brokers=[broker], cluster_id="sink", controller_id=1, topics=topics
        )

    def _take(self, request: Any) -> Any:
        taken = ProduceResponse.TopicProduceResponse
        responses = [
            taken(
                name=topic.name,
                partition_responses=[
                    taken.PartitionProduceResponse(
                        index=partition.index,
                        error_code=0,
                        base_offset=0,
                        log_append_time_ms=-1,
                        log_start_offset=0,
                        record_errors=[],
                        error_message=None,
                    )
                    for partition in topic.partition_data
                ],
            )
            for topic in request.topic_data
        ]
        return ProduceResponse(responses=responses, throttle_time_ms=0)


def main() -> None:
    """Listen on the port of the first argument, with as many partitions as the second says, until killed."""
    port, n_partitions = map(int, sys.argv[1:])
    with Sink(port, n_partitions) as sink:
        sink.serve_forever()


if __name__ == "__main__":
    main()
