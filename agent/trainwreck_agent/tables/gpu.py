"""Tables of GPUs. Identity is the UUID; the index may change when a device is lost."""

from trainwreck_agent.schema import Table, counter, flag, gauge, label, text

GPU = Table(
    "gpu",
    "State of each GPU; one row a tick and device. NULL: this device does not tell. Columns marked"
    " with a pace are read that often and repeat their last reading in between.",
    (
        label("uuid", "UUID of the device."),
        text("serial", "Board serial number."),
        gauge("gpu_index", "Index in the driver's order now."),
        text("pci", "PCI address, domain:bus:device.function."),
        text("name", "Product name."),
        text("status", "ok, or the error that the driver gave: lost, reset required, hang, …"),
        gauge("utilization_percent", "Share of the last period with a kernel resident."),
        gauge("memory_utilization_percent", "Share of the last period with memory traffic."),
        gauge("memory_used_bytes", "Device memory in use."),
        gauge("memory_total_bytes", "Device memory."),
        gauge("sm_clock_mhz", "SM clock."),
        gauge("sm_clock_max_mhz", "Highest SM clock of the device; each 300 s."),
        gauge("memory_clock_mhz", "Memory clock; each 5 s."),
        gauge("temperature_c", "GPU core temperature, °C."),
        gauge("memory_temperature_c", "HBM temperature, °C."),
        gauge("temperature_slowdown_c", "The device's own slowdown limit, °C; each 300 s."),
        gauge("power_w", "Power draw, W; a 1-s average on Ampere and later.", "DOUBLE"),
        gauge("power_limit_w", "Enforced power limit, W; each 10 s.", "DOUBLE"),
        counter("energy_mj", "Energy since the driver was loaded, mJ."),
        gauge("clock_event_reasons", "Bit set of clock-event (throttle) reasons, NVML's bits."),
        counter("ecc_corrected_count", "Corrected ECC errors since the driver was loaded."),
        counter("ecc_uncorrected_count", "Uncorrected ECC errors since the driver was loaded."),
        counter(
            "rows_remapped_correctable_count", "Rows remapped for correctable errors, life-time."
        ),
        counter("rows_remapped_uncorrectable_count", "Rows remapped for uncorrectable ones."),
        gauge("row_remap_pending", "1: a remap waits for a reset."),
        gauge("row_remap_failed", "1: a remap failed; replace the device."),
        gauge("pcie_link_generation", "Current PCIe generation; falls when idle; each 5 s."),
        gauge("pcie_link_generation_max", "What device and slot can do; each 300 s."),
        gauge("pcie_link_width", "Current PCIe lanes; each 5 s."),
        gauge("pcie_link_width_max", "What device and slot can do; each 300 s."),
        counter("pcie_replay_count", "PCIe replays."),
        counter("pcie_sent_bytes", "Bytes sent over PCIe; 32 bits that wrap on some drivers."),
        counter(
            "pcie_received_bytes", "Bytes received over PCIe; 32 bits that wrap on some drivers."
        ),
        gauge("memory_reserved_bytes", "Device memory that the driver keeps for itself."),
        gauge("bar1_used_bytes", "BAR1 (window for peers and host) in use; each 60 s."),
        gauge("memory_clock_max_mhz", "Highest memory clock of the device; each 300 s."),
        gauge("temperature_shutdown_c", "The device's own shutdown limit, °C; each 300 s."),
        gauge("temperature_max_c", "Highest operating temperature of the GPU, °C; each 300 s."),
        gauge("memory_temperature_max_c", "Highest operating temperature of HBM, °C; each 300 s."),
        gauge("temperature_margin_c", "°C left to the nearest slowdown limit; each 5 s."),
        gauge("shutdown_tlimit_c", "Margin at which the GPU shuts down, °C; each 10 s."),
        gauge("slowdown_tlimit_c", "Margin at which the GPU slows down, °C; each 10 s."),
        gauge("memory_max_tlimit_c", "Margin at which HBM slows down, °C; each 10 s."),
        gauge("gpu_max_tlimit_c", "Margin at which the GPU leaves its range, °C; each 10 s."),
        gauge("power_instant_w", "Power draw at this moment, W.", "DOUBLE"),
        gauge("power_limit_default_w", "Power limit from the factory, W; each 10 s.", "DOUBLE"),
        gauge("power_limit_max_w", "Highest power limit that may be set, W; each 10 s.", "DOUBLE"),
        counter(
            "clock_event_sw_power_cap_ns", "Time below the wanted clock for the power limit, ns."
        ),
        counter(
            "clock_event_sync_boost_ns", "Time below the wanted clock for a sync-boost peer, ns."
        ),
        counter("clock_event_sw_thermal_ns", "Time slowed down by software for heat, ns."),
        counter("clock_event_hw_thermal_ns", "Time slowed down by hardware for heat, ns."),
        counter("clock_event_hw_power_brake_ns", "Time slowed down by the power-brake signal, ns."),
        counter("ecc_corrected_aggregate_count", "Corrected ECC errors, life-time; each 10 s."),
        counter("ecc_uncorrected_aggregate_count", "Uncorrected ECC errors, life-time; each 10 s."),
        gauge("sram_threshold_exceeded", "1: too many SRAM errors; replace the device; each 60 s."),
        gauge("row_remap_banks_max_count", "Banks with every spare row left; each 60 s."),
        gauge("row_remap_banks_high_count", "Banks with many spare rows left; each 60 s."),
        gauge("row_remap_banks_partial_count", "Banks with some spare rows left; each 60 s."),
        gauge("row_remap_banks_low_count", "Banks with few spare rows left; each 60 s."),
        gauge("row_remap_banks_none_count", "Banks with no spare row left; each 60 s."),
        gauge("bank_remap_active_count", "Bank remappings in use; each 10 s."),
        gauge("bank_remap_none_count", "Groups with no spare bank left; each 10 s."),
        gauge("bank_remap_pending", "1: a bank remap waits for a reset; each 10 s."),
        gauge("channel_repair_pending", "1: a memory channel repair waits for a reset; each 60 s."),
        gauge("tpc_repair_pending", "1: a TPC repair waits for a reset; each 60 s."),
        counter("retired_pages_corrected_count", "Pages retired for corrected errors; each 10 s."),
        counter(
            "retired_pages_uncorrected_count", "Pages retired for uncorrected ones; each 10 s."
        ),
        gauge("retired_pages_pending", "1: a page waits for a reboot; each 10 s."),
        gauge(
            "recovery_action",
            "What the driver asks for: 0 none, 1 GPU reset, 2 node reboot, 3 drain P2P, 4 drain and"
            " reset, 5 IMEX domain reboot, 6 bus reset, 7 system reboot.",
        ),
        counter(
            "pcie_replay_rollover_count", "Times that the replay counter rolled over; each 10 s."
        ),
        counter("pcie_l0_to_recovery_count", "Times that the PCIe link had to retrain; each 10 s."),
        counter("pcie_correctable_error_count", "PCIe correctable errors; each 10 s."),
        counter("pcie_naks_received_count", "PCIe NAKs received; each 10 s."),
        counter("pcie_receiver_error_count", "PCIe receiver errors; each 10 s."),
        counter("pcie_bad_tlp_count", "PCIe bad TLPs; each 10 s."),
        counter("pcie_naks_sent_count", "PCIe NAKs sent; each 10 s."),
        counter("pcie_bad_dllp_count", "PCIe bad DLLPs; each 10 s."),
        counter("pcie_non_fatal_error_count", "PCIe non-fatal errors; each 10 s."),
        counter("pcie_fatal_error_count", "PCIe fatal errors; each 10 s."),
        counter("pcie_unsupported_request_count", "PCIe unsupported requests; each 10 s."),
        counter("pcie_lcrc_error_count", "PCIe link CRC errors; each 10 s."),
        counter("pcie_lane_error_count", "PCIe lane errors; each 10 s."),
        counter("nvlink_sent_bytes", "Payload bytes sent over all NVLinks."),
        counter("nvlink_received_bytes", "Payload bytes received over all NVLinks."),
        counter("c2c_error_count", "Errors of the link to the CPU (Grace); each 10 s."),
        counter("c2c_replay_count", "Replays of the link to the CPU; each 10 s."),
        counter("c2c_replay_back_to_back_count", "Back-to-back replays of it; each 10 s."),
        gauge("fabric_state", "0 not supported, 1 not started, 2 in progress, 3 done; each 10 s."),
        gauge("fabric_status", "NVML return code of the fabric registration; each 10 s."),
        gauge("fabric_health_mask", "Bit set of NVLink fabric health, NVML's bits; each 10 s."),
        gauge("mig_mode", "1: the device is cut into MIG instances; each 60 s."),
        gauge("sm_active_percent", "GPM: share of SMs busy. Hopper and later.", "DOUBLE"),
        gauge("sm_occupancy_percent", "GPM: active warps of those possible.", "DOUBLE"),
        gauge("tensor_active_percent", "GPM: share of time that tensor cores worked.", "DOUBLE"),
        gauge("dram_active_percent", "GPM: device memory bandwidth used.", "DOUBLE"),
        gauge("gpm_pcie_sent_bytes_per_s", "GPM: PCIe traffic from this GPU.", "DOUBLE"),
        gauge("gpm_pcie_received_bytes_per_s", "GPM: PCIe traffic to this GPU.", "DOUBLE"),
        gauge("gpm_nvlink_sent_bytes_per_s", "GPM: NVLink writes, all links.", "DOUBLE"),
        gauge("gpm_nvlink_received_bytes_per_s", "GPM: NVLink reads, all links.", "DOUBLE"),
    ),
)

GPU_PROCESS = Table(
    "gpu_process",
    "Processes that hold a GPU for compute; each 5 s.",
    (
        label("uuid", "UUID of the device."),
        label("pid", "Process id.", "BIGINT"),
        gauge("memory_used_bytes", "Device memory it holds; NULL where the driver does not tell."),
        gauge("gpu_instance", "MIG GPU instance; NULL: the whole device."),
        gauge("compute_instance", "MIG compute instance; NULL: the whole device."),
    ),
)

GPU_ECC = Table(
    "gpu_ecc",
    "ECC errors of each GPU by place; each 60 s. NULL: the device does not tell this one.",
    (
        label("uuid", "UUID of the device."),
        label(
            "place",
            "l1, l2, dram, register, texture, cbu; sram_parity, sram_secded; and, uncorrected for"
            " life only, sram_l2, sram_sm, sram_pcie, sram_mcu, sram_other.",
        ),
        counter("corrected_count", "Corrected errors since the driver was loaded."),
        counter("uncorrected_count", "Uncorrected errors since the driver was loaded."),
        counter("corrected_aggregate_count", "Corrected errors, life-time."),
        counter("uncorrected_aggregate_count", "Uncorrected errors, life-time."),
    ),
)

GPU_INVENTORY = Table(
    "gpu_inventory",
    "What each GPU is and what drives it: a row when it is found, and when something changed.",
    (
        label("uuid", "UUID of the device."),
        text("serial", "Board serial number."),
        gauge("gpu_index", "Index in the driver's order."),
        text("pci", "PCI address, domain:bus:device.function."),
        text("name", "Product name."),
        text("board_part", "Part number of the board."),
        text("vbios", "VBIOS version."),
        text("inforom", "InfoROM image version."),
        text("driver", "Driver version."),
        text("nvml", "NVML version."),
        text("cuda", "Highest CUDA version that the driver can do."),
        gauge("minor", "N of /dev/nvidiaN."),
        gauge("numa_node", "NUMA node of the device's memory; NULL: it is none."),
        flag("persistence_mode", "Whether the driver stays loaded without clients."),
        flag("ecc_mode", "Whether ECC is on."),
        flag("mig_mode", "Whether the device is cut into MIG instances."),
        gauge("memory_total_bytes", "Device memory."),
        gauge("nvlink_count", "NVLinks that the device has."),
    ),
)

GPU_EVENT = Table(
    "gpu_event",
    "Events that the driver pushed through NVML (the same Xid is in the kernel log too).",
    (
        label("uuid", "UUID of the device; NULL where the driver named none that we know."),
        label("event", "xid, ecc_double_bit, dram_retirement, fatal_poison, gpu_unavailable, …"),
        gauge("data", "The number with it: Xid, or recovery action; NULL where it has none."),
        gauge("gpu_instance", "MIG GPU instance; NULL: the whole device."),
        gauge("compute_instance", "MIG compute instance; NULL: the whole device."),
    ),
)

GPU_BURST = Table(
    "gpu_burst",
    "The last minute of a GPU at a quick pace, written down when something happened to it.",
    (
        label("uuid", "UUID of the device."),
        text("reason", "What happened: clock event, Xid, device lost, …"),
        gauge("power_instant_w", "Power draw at this moment, W.", "DOUBLE"),
        gauge("sm_clock_mhz", "SM clock."),
        gauge("temperature_c", "GPU core temperature, °C."),
        gauge("clock_event_reasons", "Bit set of clock-event (throttle) reasons, NVML's bits."),
    ),
)

NVLINK = Table(
    "nvlink",
    "NVLinks of each GPU; each 20 s. NULL: this generation of link or driver does not tell.",
    (
        label("uuid", "UUID of the device."),
        label("link", "Number of the link.", "BIGINT"),
        text("state", "active, inactive, sleep; NULL where the driver does not tell."),
        counter("replay_count", "Replays."),
        counter("recovery_count", "Recoveries."),
        counter("crc_flit_count", "Flit CRC errors."),
        counter("crc_data_count", "Data CRC errors."),
        counter("sent_bytes", "Bytes sent."),
        counter("received_bytes", "Bytes received."),
        gauge("speed_mbyte_per_s", "Speed of the link, MB/s."),
        counter("crc_count", "CRC errors of the data link layer."),
        counter("ecc_data_count", "Data ECC errors."),
        counter("sent_packets_count", "Packets sent."),
        counter("received_packets_count", "Packets received."),
        counter("malformed_packet_count", "Malformed packets."),
        counter("buffer_overrun_count", "Packets discarded for a full buffer."),
        counter("receive_error_count", "Packets received with an error."),
        counter("receive_remote_error_count", "Packets received that the other end marked bad."),
        counter("receive_general_error_count", "Packets received with a header or other error."),
        counter("local_link_integrity_count", "Times that local errors passed the threshold."),
        counter("transmit_discard_count", "Packets not sent because the link was down."),
        counter("recovery_successful_count", "Link recoveries that worked, NVLink 5."),
        counter("recovery_failed_count", "Link recoveries that failed, NVLink 5."),
        counter("recovery_event_count", "Link recoveries begun, NVLink 5."),
        counter("effective_error_count", "Errors left after error correction."),
        gauge("effective_ber_ratio", "Bit error rate after error correction.", "DOUBLE"),
        counter("symbol_error_count", "Symbol errors."),
        gauge("symbol_ber_ratio", "Symbol bit error rate.", "DOUBLE"),
        text(
            "fec_history", "Blocks with 0, 1, … 15 corrected symbols, comma between; since reset."
        ),
    ),
)
