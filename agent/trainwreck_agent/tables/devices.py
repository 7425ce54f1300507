"""Tables of devices and sensors: bus, fabric, memory errors, temperature, power."""

from trainwreck_agent.schema import Table, counter, flag, gauge, label, text

INFINIBAND = Table(
    "infiniband",
    "Ports of InfiniBand and RoCE adapters. Identity is the port GUID, not the name.",
    (
        label("port_guid", "GUID of the port (from its first GID); NULL where it cannot be read."),
        label("device", "Kernel name of the adapter, e.g. mlx5_0."),
        label("port", "Number of the port.", "BIGINT"),
        text("link_layer", "InfiniBand or Ethernet."),
        text("state", "Logical state, e.g. ACTIVE."),
        text("physical_state", "Physical state, e.g. LinkUp."),
        gauge("rate_gbit_per_s", "Signalling rate, Gbit/s.", "DOUBLE"),
        counter("sent_bytes", "Bytes sent (port_xmit_data × 4)."),
        counter("received_bytes", "Bytes received (port_rcv_data × 4)."),
        counter("symbol_errors_count", "Bad symbols."),
        counter("link_error_recovery_count", "Successful link retrainings."),
        counter("link_downed_count", "Failed link retrainings."),
        counter("receive_errors_count", "Damaged packets received."),
        counter("receive_remote_physical_errors_count", "Packets marked bad by the other end."),
        counter("local_link_integrity_errors_count", "Local physical errors over the threshold."),
        counter("excessive_buffer_overrun_errors_count", "Flow-control faults."),
        counter("send_discards_count", "Packets dropped on sending."),
        counter("send_wait_ticks", "Ticks with data to send and no credit: congestion."),
        counter("out_of_buffer_count", "Receive queue had no buffer."),
        counter("out_of_sequence_count", "Packets out of order."),
        counter("packet_sequence_errors_count", "NAKs for a lost packet."),
        counter("local_ack_timeout_count", "Acknowledgements that never came."),
        counter("rnr_retry_errors_count", "Receiver-not-ready retries used up."),
        counter("roce_slow_restart_count", "RoCE slow restarts."),
        counter("cnp_sent_count", "Congestion notices sent."),
        counter("cnp_handled_count", "Congestion notices acted on."),
        counter("receive_switch_relay_errors_count", "Packets that could not be forwarded."),
        counter("send_constraint_errors_count", "Packets not sent: partition or raw filter."),
        counter("receive_constraint_errors_count", "Packets discarded: partition or raw filter."),
        counter("vl15_dropped_count", "Management packets dropped for want of buffers."),
        counter("duplicate_request_count", "Requests received twice."),
        counter("implied_nak_sequence_errors_count", "Acknowledgements that skipped requests."),
        counter("request_cqe_errors_count", "Requests completed with an error."),
        counter("response_cqe_errors_count", "Responses completed with an error."),
        counter("request_remote_access_errors_count", "Requests refused by the other end."),
        counter("ecn_marked_count", "RoCE packets received with a congestion mark."),
        counter("roce_adaptive_retransmissions_count", "RoCE adaptive retransmissions."),
        counter("roce_adaptive_retransmission_timeouts_count", "Those that timed out."),
    ),
)

THERMAL = Table(
    "thermal",
    "Temperatures and fans: hwmon chips, thermal zones, cooling devices.",
    (
        label("source", "hwmon, zone, cooling or bmc."),
        label("chip", "Name of the chip, zone type or cooling-device type."),
        label("device", "Where it sits: PCI address, or the kernel's name of the device."),
        label("sensor", "Label or name of the sensor."),
        gauge("temperature_c", "Temperature, °C; NULL for fans.", "DOUBLE"),
        gauge("critical_c", "The sensor's own critical limit, °C.", "DOUBLE"),
        gauge("fan_rpm", "Fan speed, RPM; NULL for temperatures."),
        gauge("cooling_state", "Current state of a cooling device; 0 is no cooling asked."),
        flag("alarm", "The chip's own alarm bit; NULL where it has none."),
    ),
)

POWER = Table(
    "power",
    "Power, energy, voltage and current of the host: RAPL, hwmon, supplies.",
    (
        label("source", "rapl, hwmon, supply or bmc."),
        label("chip", "Name of the chip or RAPL zone."),
        label("device", "Where it sits."),
        label("sensor", "Label or name of the sensor."),
        gauge("power_w", "Power, W.", "DOUBLE"),
        counter("energy_uj", "Energy since an arbitrary start, µJ; wraps at energy_range_uj."),
        gauge("energy_range_uj", "Where energy_uj wraps."),
        gauge("voltage_v", "Voltage, V.", "DOUBLE"),
        gauge("current_a", "Current, A.", "DOUBLE"),
        flag("alarm", "Alarm bit or failed state; NULL where there is none."),
        text("state", "State of a supply as its firmware tells it."),
    ),
)

PCIE = Table(
    "pcie",
    "PCI Express links of GPUs, NVSwitches, NICs and NVMe drives and of every bridge above them.",
    (
        label("pci", "Address, domain:bus:device.function."),
        label("role", "gpu, nvswitch, nic, nvme or bridge."),
        text("vendor_device", "PCI ids, vvvv:dddd."),
        text("parent", "Address of the bridge above; NULL at the root."),
        gauge("numa_node", "NUMA node; NULL where the firmware tells none."),
        gauge("link_speed_gt_per_s", "Current speed, GT/s.", "DOUBLE"),
        gauge("link_speed_max_gt_per_s", "What the device can do, GT/s.", "DOUBLE"),
        gauge("link_width", "Current lanes."),
        gauge("link_width_max", "Lanes the device can do."),
        counter("aer_correctable_count", "AER correctable errors, all kinds; NULL: no AER."),
        counter("aer_nonfatal_count", "AER non-fatal errors."),
        counter("aer_fatal_count", "AER fatal errors."),
        counter("aer_receiver_errors_count", "Correctable: receiver errors (signal integrity)."),
        counter("aer_bad_tlp_count", "Correctable: bad TLP."),
        counter("aer_bad_dllp_count", "Correctable: bad DLLP."),
        counter("aer_replay_rollover_count", "Correctable: replay number rolled over."),
        counter("aer_replay_timeout_count", "Correctable: replay timer ran out."),
        counter("aer_completion_timeout_count", "Uncorrectable: completion timeouts."),
        counter("aer_surprise_down_count", "Uncorrectable: surprise link down."),
        text("power_state", "D0 … D3cold."),
        counter(
            "aer_rootport_correctable_count",
            "Correctable error messages from below that a root port received; NULL elsewhere.",
        ),
        counter("aer_rootport_nonfatal_count", "Non-fatal error messages likewise."),
        counter("aer_rootport_fatal_count", "Fatal error messages likewise."),
    ),
)

EDAC = Table(
    "edac",
    "Errors of host memory counted by the EDAC drivers, per controller and DIMM.",
    (
        label("controller", "mc0, mc1, …"),
        label(
            "dimm", "Label of the module, its location where it has none, '' for the controller."
        ),
        text("location", "Channel and slot as the driver tells."),
        gauge("size_bytes", "Size of the module."),
        counter("corrected_count", "Corrected errors."),
        counter("uncorrected_count", "Uncorrected errors."),
        counter(
            "corrected_no_info_count", "Corrected errors with no module named; controller only."
        ),
        counter("uncorrected_no_info_count", "Uncorrected ones likewise."),
    ),
)

MEMORY_BANDWIDTH = Table(
    "memory_bandwidth",
    "Traffic between processors and memory, where the hardware lets itself be asked.",
    (
        label("source", "resctrl (MBM) or perf (uncore counters)."),
        label("domain", "L3 domain or socket."),
        counter("total_bytes", "Bytes, all traffic."),
        counter("local_bytes", "Bytes to local memory."),
        counter("read_bytes", "Bytes read."),
        counter("written_bytes", "Bytes written."),
        gauge("llc_occupancy_bytes", "Last-level cache in use."),
    ),
)

MEMORY_FAILURE = Table(
    "memory_failure",
    "Pages of each NUMA node that the kernel took out of use after an uncorrected memory error.",
    (
        label("node", "Number of the node.", "BIGINT"),
        counter("pages_count", "Pages with an uncorrected error, all outcomes."),
        counter("recovered_count", "Handled: the page was isolated and nobody lost data."),
        counter("delayed_count", "Isolation is put off until the page is next touched."),
        counter("ignored_count", "The kernel did nothing: a page that it cannot handle."),
        counter("failed_count", "Isolation was tried and failed."),
    ),
)

MACHINE_CHECK = Table(
    "machine_check",
    "Interrupts by which x86 processors report faults, summed over the cores; NULL: not counted.",
    (
        counter("exceptions_count", "Machine-check exceptions (MCE)."),
        counter("polls_count", "Machine-check polls (MCP): grows by itself, every few minutes."),
        counter("thermal_events_count", "Thermal events (TRM)."),
        counter("threshold_count", "Corrected errors over the threshold (THR)."),
        counter("deferred_count", "Deferred errors: poison that was found but not used (DFR)."),
    ),
)

ETHTOOL = Table(
    "ethtool",
    "Statistics of a network driver (ethtool -S) that tell of the link, the cable and losses. A row"
    " comes when the value has changed since the last read, with one of the read before it, and"
    " every five minutes: in between it has not changed.",
    (
        label("interface", "Kernel name."),
        label("name", "The driver's name of the statistic, e.g. rx_discards_phy."),
        counter("value", "Its value, in the driver's unit: mostly a count."),
    ),
)

NVME = Table(
    "nvme",
    "Health of NVMe drives: the SMART log page of the controller.",
    (
        label("serial", "Serial number; the kernel's name where it cannot be read."),
        label("device", "Kernel name of the controller, e.g. nvme0."),
        text("pci", "PCI address; NULL for drives on a fabric."),
        text("model", "Model."),
        text("firmware", "Firmware revision."),
        text("state", "State of the controller as the kernel sees it: live, resetting, dead, …"),
        gauge(
            "critical_warning",
            "Bit set: 1 spare low, 2 temperature, 4 reliability degraded, 8 read-only, 16 backup"
            " failed. NULL, like all below: the log could not be read.",
        ),
        gauge("temperature_c", "Composite temperature, °C."),
        gauge("available_spare_percent", "Spare blocks left, %."),
        gauge("available_spare_threshold_percent", "Where the drive warns, %."),
        gauge("percentage_used_percent", "Wear, %; may exceed 100."),
        counter("read_bytes", "Bytes read (data units × 512,000)."),
        counter("written_bytes", "Bytes written."),
        counter("power_on_h", "Hours powered on."),
        counter("unsafe_shutdowns_count", "Power losses without a shutdown notice."),
        counter("media_errors_count", "Data that could not be recovered."),
        counter("error_log_entries_count", "Entries ever made in the drive's error log."),
        counter("warning_temperature_min", "Minutes over the warning temperature."),
        counter("critical_temperature_min", "Minutes over the critical temperature."),
        counter(
            "thermal_transitions_count", "Times the drive throttled itself for heat, both levels."
        ),
    ),
)

BMC = Table(
    "bmc",
    "The management controller and what it says of the chassis; a row at the start and on change.",
    (
        text("firmware", "Firmware revision of the controller."),
        text("restart_cause", "Why the system last started; NULL: unknown."),
        flag("power_on", "The system is powered."),
        flag("power_overload", "Shut down for an overload of the supply."),
        flag("power_fault", "A fault in the main power."),
        text("last_power_event", "What took the power away last; NULL: none is told."),
        flag("cooling_fault", "A cooling or fan fault."),
        flag("drive_fault", "A drive fault."),
        flag("intrusion", "The chassis was opened."),
    ),
)

BMC_EVENT = Table(
    "bmc_event",
    "Records of the management controller's event log (SEL). ts is when they were read.",
    (
        label("record", "Number of the record.", "BIGINT"),
        gauge("bmc_time_us", "By the controller's own clock, µs since 1970 UTC; NULL: not set."),
        flag("earlier", "It was in the log already when the recorder started."),
        text("sensor_type", "power supply, memory, processor, critical interrupt, …"),
        text("sensor", "Name of the sensor."),
        text("event", "What happened, in the words of the specification."),
        flag("asserted", "True: it began. False: it ended."),
        text("data", "The three event bytes, hexadecimal."),
    ),
)

PANIC_LOG = Table(
    "panic_log",
    "Lines that a dying kernel left in firmware or RAM (pstore). ts is when they were saved; they"
    " are written again at each start of the recorder.",
    (
        label("file", "Path of the record."),
        label("line", "Line number in the record, from 1.", "BIGINT"),
        text("backend", "Where it was kept: efi, erst, ramoops, …"),
        text("reason", "Panic, Oops, … as the kernel says in the first line."),
        gauge("part", "Number of the part; 1 holds the last lines before the end."),
        gauge("priority", "Syslog severity, 0 emergency … 7 debug; NULL: not in the line."),
        gauge("monotonic_us", "Time since that boot, µs; NULL: not in the line."),
        text("text", "The line."),
    ),
)
