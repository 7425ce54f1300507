"""Tables of GPUs. Identity is the UUID; the index may change when a device is lost."""

from trainwreck_agent.schema import Table, counter, gauge, label, text

GPU = Table(
    "gpu",
    "State of each GPU; one row a tick and device. NULL: this device does not tell.",
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
        gauge("sm_clock_max_mhz", "Highest SM clock of the device."),
        gauge("memory_clock_mhz", "Memory clock."),
        gauge("temperature_c", "GPU core temperature, °C."),
        gauge("memory_temperature_c", "HBM temperature, °C."),
        gauge("temperature_slowdown_c", "The device's own slowdown limit, °C."),
        gauge("power_w", "Power draw, W.", "DOUBLE"),
        gauge("power_limit_w", "Enforced power limit, W.", "DOUBLE"),
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
        gauge("pcie_link_generation", "Current PCIe generation; falls when idle."),
        gauge("pcie_link_generation_max", "What device and slot can do."),
        gauge("pcie_link_width", "Current PCIe lanes."),
        gauge("pcie_link_width_max", "What device and slot can do."),
        counter("pcie_replay_count", "PCIe replays."),
        counter("pcie_sent_bytes", "Bytes sent over PCIe."),
        counter("pcie_received_bytes", "Bytes received over PCIe."),
    ),
)

GPU_PROCESS = Table(
    "gpu_process",
    "Processes that hold a GPU.",
    (
        label("uuid", "UUID of the device."),
        label("pid", "Process id.", "BIGINT"),
        gauge("memory_used_bytes", "Device memory it holds; NULL where the driver does not tell."),
    ),
)

NVLINK = Table(
    "nvlink",
    "NVLinks of each GPU.",
    (
        label("uuid", "UUID of the device."),
        label("link", "Number of the link.", "BIGINT"),
        text("state", "active, inactive; NULL where the driver does not tell."),
        counter("replay_count", "Replays."),
        counter("recovery_count", "Recoveries."),
        counter("crc_flit_count", "Flit CRC errors."),
        counter("crc_data_count", "Data CRC errors."),
        counter("sent_bytes", "Bytes sent."),
        counter("received_bytes", "Bytes received."),
    ),
)
