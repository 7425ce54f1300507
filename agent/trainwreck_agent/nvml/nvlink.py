"""NVLinks of one GPU, through fields only: per link 5 to 40 of them, some batches for all.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlFieldValueEnums.html
"""

from __future__ import annotations

from collections.abc import Iterator

from trainwreck_agent.collector import Value
from trainwreck_agent.nvml.fields import BATCH_MAX, Batch, Convert, error_ratio, kib
from trainwreck_agent.nvml.library import Library
from trainwreck_agent.schema import Table
from trainwreck_agent.tables.gpu import NVLINK

Key = tuple[int, int, int]
"""Link, position of the column, and rank among the fields that can fill it (0 is preferred)."""

LinkRow = tuple[Table, list[Value]]

STATES = {0: "inactive", 1: "active", 2: "sleep"}
_AT = {column.name: position for position, column in enumerate(NVLINK.columns)}
_FEC_AT = _AT["fec_history"]
LINK_AT, STATE_AT = _AT["link"], _AT["state"]
_FEC = range(235, 251)

_SCOPED: tuple[tuple[int, str, int, Convert | None], ...] = (  # the link is the field's scope
    (165, "state", 0, lambda value: STATES.get(int(value))),
    (164, "speed_mbyte_per_s", 0, None),
    (161, "replay_count", 0, None),
    (162, "recovery_count", 0, None),
    (163, "crc_count", 0, None),
    (202, "sent_bytes", 0, None),
    (204, "received_bytes", 0, None),
    (138, "sent_bytes", 1, kib),
    (139, "received_bytes", 1, kib),
    (201, "sent_packets_count", 0, None),
    (203, "received_packets_count", 0, None),
    (206, "malformed_packet_count", 0, None),
    (207, "buffer_overrun_count", 0, None),
    (208, "receive_error_count", 0, None),
    (209, "receive_remote_error_count", 0, None),
    (210, "receive_general_error_count", 0, None),
    (211, "local_link_integrity_count", 0, None),
    (212, "transmit_discard_count", 0, None),
    (213, "recovery_successful_count", 0, None),
    (214, "recovery_failed_count", 0, None),
    (215, "recovery_event_count", 0, None),
    (219, "effective_error_count", 0, None),
    (220, "effective_ber_ratio", 0, error_ratio),
    (221, "symbol_error_count", 0, None),
    (222, "symbol_ber_ratio", 0, error_ratio),
)
_NUMBERED: tuple[tuple[int, int, str, int], ...] = (  # a field id for each of the links 0-5, 6-11
    (32, 96, "crc_flit_count", 0),
    (39, 102, "crc_data_count", 0),
    (46, 108, "replay_count", 1),
    (53, 114, "recovery_count", 1),
    (148, 154, "ecc_data_count", 0),
)


def link_fields(link: int) -> Iterator[tuple[Key, int, int, Convert | None]]:
    """Every field that can say something about the link."""
    for number, column, rank, convert in _SCOPED:
        yield (link, _AT[column], rank), number, link, convert
    for low, high, column, rank in _NUMBERED:
        if link < 12:
            number = low + link if link < 6 else high + link - 6
            yield (link, _AT[column], rank), number, 0, None
    for number in _FEC:
        yield (link, _FEC_AT, number - _FEC[0]), number, link, None


def link_batches(library: Library, device: int, links: int | None) -> list[Batch[Key]]:
    """Batches that together cover each link; all fields of a link are in one of them."""
    wanted = [list(link_fields(link)) for link in range(links or 0)]
    batches: list[list[tuple[Key, int, int, Convert | None]]] = []
    for fields in wanted:
        if not batches or len(batches[-1]) + len(fields) > BATCH_MAX:
            batches.append([])
        batches[-1].extend(fields)
    return [Batch(library, device, batch) for batch in batches]


def link_rows(uuid: str | None, keys: list[Key], values: list[Value]) -> list[LinkRow]:
    """One row a link that told anything."""
    links: dict[int, list[Value]] = {}
    ranks: dict[tuple[int, int], int] = {}
    histories: dict[int, list[Value]] = {}
    for (link, position, rank), value in zip(keys, values, strict=True):
        if value is None:
            continue
        cells = links.get(link)
        if cells is None:
            cells = links[link] = [None] * len(NVLINK.columns)
            cells[0], cells[1] = uuid, link
        if position == _FEC_AT:
            histories.setdefault(link, [None] * len(_FEC))[rank] = value
        elif rank <= ranks.get((link, position), rank):
            ranks[link, position] = rank
            cells[position] = value
    for link, history in histories.items():
        links[link][_FEC_AT] = ",".join("" if n is None else str(n) for n in history)
    return [(NVLINK, cells) for cells in links.values()]
