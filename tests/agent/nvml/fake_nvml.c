/* A libnvidia-ml.so.1 without a GPU: devices whose counters move, and faults at the turn of a knob.
 *
 *     cc -O2 -shared -fPIC -o libnvidia-ml.so.1 fake_nvml.c
 *
 * TRAINWRECK_FAKE_NVML names a file that is mapped and shared with the test, which turns knobs in it
 * and reads how often each function was called. Layout, all 8-byte words:
 *     [0] MAGIC   [1..64) knobs of the whole   then DEVICES x 64 knobs of a device
 *     then FUNCTIONS x { char name[56]; count }   then DEVICES x calls of the device
 * The lines GLOBAL(name, default) and DEVICE(name, default) below are read by fake.py, too.
 * Struct layouts are those of nvml.h (driver 550 and later, x86-64 and aarch64).
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x6c6d766e656b6166LL
#define DEVICES 16
#define FUNCTIONS 128
#define LINKS 18

#define KNOBS                                                                                      \
    GLOBAL(device_count, 8)                                                                        \
    GLOBAL(driver_loaded, 1)                                                                       \
    GLOBAL(version_mismatch, 0)                                                                    \
    GLOBAL(hang_init, 0)                                                                           \
    GLOBAL(hang_device, -1)                                                                        \
    GLOBAL(hanging, 0)     /* how many calls hang now; written here */                             \
    GLOBAL(lost_mask, 0)                                                                           \
    GLOBAL(reset_mask, 0)                                                                          \
    GLOBAL(unknown_mask, 0)                                                                        \
    GLOBAL(tick_calls_max, 0) /* calls from one wait for events to the next; written here */       \
    GLOBAL(has_power, 1)                                                                           \
    GLOBAL(has_gpm, 1)                                                                             \
    GLOBAL(has_link_fields, 1)                                                                     \
    GLOBAL(has_nvlink5, 0)                                                                         \
    GLOBAL(has_ecc, 1)                                                                             \
    GLOBAL(process_count, 1)                                                                       \
    GLOBAL(event_serial, 0) /* one event is pushed each time it grows */                           \
    GLOBAL(event_device, 0)                                                                        \
    GLOBAL(event_type, 8)                                                                          \
    GLOBAL(event_data, 79)                                                                         \
    GLOBAL(call_us, 0)     /* busy time of each call about a device */                             \
    DEVICE(power_mw, 300000)                                                                       \
    DEVICE(temperature_c, 40)                                                                      \
    DEVICE(utilization, 90)                                                                        \
    DEVICE(clock_event_reasons, 0)                                                                 \
    DEVICE(ecc_corrected, 0)                                                                       \
    DEVICE(ecc_uncorrected, 0)                                                                     \
    DEVICE(sram_uncorrected, 0)                                                                    \
    DEVICE(sram_threshold, 0)                                                                      \
    DEVICE(remap_correctable, 0)                                                                   \
    DEVICE(remap_uncorrectable, 0)                                                                 \
    DEVICE(remap_pending, 0)                                                                       \
    DEVICE(remap_failed, 0)                                                                        \
    DEVICE(recovery_action, 0)                                                                     \
    DEVICE(pcie_width, 16)                                                                         \
    DEVICE(pcie_errors, 0)                                                                         \
    DEVICE(pcie_replays, 0)                                                                        \
    DEVICE(link_down_mask, 0)                                                                      \
    DEVICE(fabric_state, 3)                                                                        \
    DEVICE(mig, 0)                                                                                 \
    DEVICE(board, 0)       /* number of the board in the slot; 0: the slot's own */

#define GLOBAL(name, value) G_##name,
#define DEVICE(name, value)
enum global { G_none, KNOBS };
#undef GLOBAL
#undef DEVICE
#define GLOBAL(name, value)
#define DEVICE(name, value) D_##name,
enum device_knob { KNOBS D_end };
#undef GLOBAL
#undef DEVICE

struct counter { char name[56]; uint64_t count; };
struct control {
    int64_t global[64];
    int64_t device[DEVICES][64];
    struct counter function[FUNCTIONS];
    uint64_t calls[DEVICES];
};

enum { OK, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, RESET_REQUIRED = 16,
       VERSION_MISMATCH = 18, UNKNOWN = 999 };

typedef int ret;
typedef struct dev { int index; } *handle;
static struct dev devices[DEVICES];
static struct control *control;
static int initialized;
static int64_t events_taken;
static int64_t tick_calls;

static void map_control(void) {
    const char *path = getenv("TRAINWRECK_FAKE_NVML");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at = fd < 0 ? MAP_FAILED
                      : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (at == MAP_FAILED) {
        control = calloc(1, sizeof *control);
#define GLOBAL(name, value) control->global[G_##name] = value;
#define DEVICE(name, value) for (int d = 0; d < DEVICES; d++) control->device[d][D_##name] = value;
        KNOBS
#undef GLOBAL
#undef DEVICE
    } else control = at;
    events_taken = control->global[G_event_serial];
    for (int d = 0; d < DEVICES; d++) devices[d].index = d;
}

static int64_t knob(enum global k) { return __atomic_load_n(&control->global[k], __ATOMIC_RELAXED); }
static int64_t of(handle h, enum device_knob k) {
    return __atomic_load_n(&control->device[h->index][k], __ATOMIC_RELAXED);
}

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static struct counter *slot(const char *name) {
    for (int n = 0; n < FUNCTIONS; n++) {
        struct counter *c = &control->function[n];
        if (!strcmp(c->name, name)) return c;
        if (!c->name[0]) { strncpy(c->name, name, sizeof c->name - 1); return c; }
    }
    return &control->function[FUNCTIONS - 1];
}

static void hang_while(enum global k, int64_t value) {
    struct timespec nap = {0, 1000000};
    if (knob(k) != value) return;
    __atomic_fetch_add(&control->global[G_hanging], 1, __ATOMIC_SEQ_CST);
    while (knob(k) == value) nanosleep(&nap, NULL); /* a signal does not end it */
    __atomic_fetch_sub(&control->global[G_hanging], 1, __ATOMIC_SEQ_CST);
}

static ret enter(struct counter *c, handle h) {
    __atomic_fetch_add(&c->count, 1, __ATOMIC_RELAXED);
    tick_calls++;
    if (!initialized) return UNINITIALIZED;
    if (!knob(G_driver_loaded)) return DRIVER_NOT_LOADED;
    if (!h) return OK;
    if (h < devices || h >= devices + DEVICES) return INVALID_ARGUMENT;
    __atomic_fetch_add(&control->calls[h->index], 1, __ATOMIC_RELAXED);
    hang_while(G_hang_device, h->index);
    if (knob(G_call_us)) for (uint64_t end = now_us() + knob(G_call_us); now_us() < end;) {}
    if (knob(G_lost_mask) >> h->index & 1) return GPU_IS_LOST;
    if (knob(G_reset_mask) >> h->index & 1) return RESET_REQUIRED;
    if (knob(G_unknown_mask) >> h->index & 1) return UNKNOWN;
    return OK;
}

#define ENTER(h)                                                                                   \
    static struct counter *counter_;                                                               \
    if (!control) map_control();                                                                   \
    if (!counter_) counter_ = slot(__func__);                                                      \
    ret result_ = enter(counter_, (handle)(h));                                                    \
    if (result_) return result_

/* -- the library as a whole --------------------------------------------------------------- */

ret nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!control) map_control();
    slot(__func__)->count++;
    hang_while(G_hang_init, 1);
    if (knob(G_version_mismatch)) return VERSION_MISMATCH;
    if (!knob(G_driver_loaded)) return DRIVER_NOT_LOADED;
    initialized = 1;
    return OK;
}
ret nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
ret nvmlShutdown(void) { ENTER(NULL); initialized = 0; return OK; }

const char *nvmlErrorString(ret code) {
    switch (code) {
    case UNINITIALIZED: return "Uninitialized";
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

static ret text(char *to, unsigned room, const char *format, int n) {
    return snprintf(to, room, format, n) >= (int)room ? INSUFFICIENT_SIZE : OK;
}
ret nvmlSystemGetDriverVersion(char *to, unsigned room) { ENTER(NULL); return text(to, room, "550.54.%d", 15); }
ret nvmlSystemGetNVMLVersion(char *to, unsigned room) { ENTER(NULL); return text(to, room, "12.550.54.%d", 15); }
ret nvmlSystemGetCudaDriverVersion_v2(int *version) { ENTER(NULL); *version = 12040; return OK; }

/* -- identity ------------------------------------------------------------------------------ */

static int board(handle h) { return of(h, D_board) ? (int)of(h, D_board) : h->index; }

ret nvmlDeviceGetCount_v2(unsigned *count) { ENTER(NULL); *count = knob(G_device_count); return OK; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *h) {
    if (!control) map_control();
    if (index >= DEVICES || index >= knob(G_device_count)) return INVALID_ARGUMENT;
    *h = &devices[index];
    ENTER(*h);
    return OK;
}
ret nvmlDeviceGetUUID(handle h, char *to, unsigned room) { ENTER(h); return text(to, room, "GPU-00000000-0000-0000-0000-%012d", board(h)); }
ret nvmlDeviceGetSerial(handle h, char *to, unsigned room) { ENTER(h); return text(to, room, "16500%08d", board(h)); }
ret nvmlDeviceGetName(handle h, char *to, unsigned room) { ENTER(h); return text(to, room, "Fake H%d 80GB HBM3", 100); }
ret nvmlDeviceGetBoardPartNumber(handle h, char *to, unsigned room) { ENTER(h); return text(to, room, "692-2G520-%04d-000", 200); }
ret nvmlDeviceGetVbiosVersion(handle h, char *to, unsigned room) { ENTER(h); return text(to, room, "96.00.74.00.%02d", 1); }
ret nvmlDeviceGetInforomImageVersion(handle h, char *to, unsigned room) { ENTER(h); return text(to, room, "G520.0200.00.%02d", 5); }
ret nvmlDeviceGetMinorNumber(handle h, unsigned *minor) { ENTER(h); *minor = h->index; return OK; }
ret nvmlDeviceGetNumaNodeId(handle h, unsigned *node) { ENTER(h); (void)node; return NOT_SUPPORTED; }
ret nvmlDeviceGetPersistenceMode(handle h, unsigned *mode) { ENTER(h); *mode = 1; return OK; }
ret nvmlDeviceGetEccMode(handle h, unsigned *now, unsigned *next) {
    ENTER(h);
    *now = *next = knob(G_has_ecc);
    return OK;
}
ret nvmlDeviceGetMigMode(handle h, unsigned *now, unsigned *next) {
    ENTER(h);
    *now = *next = of(h, D_mig);
    return OK;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
ret nvmlDeviceGetPciInfo_v3(handle h, struct pci *p) {
    ENTER(h);
    memset(p, 0, sizeof *p);
    p->bus = 0x1b + h->index * 0x10;
    snprintf(p->legacy, sizeof p->legacy, "0000:%02X:00.0", p->bus);
    snprintf(p->bus_id, sizeof p->bus_id, "00000000:%02X:00.0", p->bus);
    return OK;
}

/* -- what a GPU does ------------------------------------------------------------------------ */

ret nvmlDeviceGetUtilizationRates(handle h, unsigned *rates) {
    ENTER(h);
    rates[0] = of(h, D_utilization);
    rates[1] = of(h, D_utilization) / 2;
    return OK;
}
struct memory { uint64_t total, free, used; };
ret nvmlDeviceGetMemoryInfo(handle h, struct memory *m) {
    ENTER(h);
    *m = (struct memory){80ull << 30, 78ull << 30, 2ull << 30};
    return OK;
}
struct memory_v2 { unsigned version; uint64_t total, reserved, free, used; };
ret nvmlDeviceGetMemoryInfo_v2(handle h, struct memory_v2 *m) {
    ENTER(h);
    if (m->version != (sizeof *m | 2u << 24)) return INVALID_ARGUMENT;
    m->total = 80ull << 30, m->reserved = 1ull << 29, m->free = 78ull << 30;
    m->used = (1ull << 30) + (1ull << 20) * h->index;
    return OK;
}
ret nvmlDeviceGetBAR1MemoryInfo(handle h, struct memory *m) {
    ENTER(h);
    *m = (struct memory){128ull << 30, 127ull << 30, 1ull << 30};
    return OK;
}
ret nvmlDeviceGetClockInfo(handle h, unsigned kind, unsigned *mhz) {
    ENTER(h);
    *mhz = kind == 2 ? 2619 : 1700 + h->index;
    return OK;
}
ret nvmlDeviceGetMaxClockInfo(handle h, unsigned kind, unsigned *mhz) {
    ENTER(h);
    *mhz = kind == 2 ? 2619 : 1980;
    return OK;
}
struct temperature { unsigned version, sensor; int celsius; };
ret nvmlDeviceGetTemperatureV(handle h, struct temperature *t) {
    ENTER(h);
    if (t->version != (sizeof *t | 1u << 24)) return INVALID_ARGUMENT;
    t->celsius = of(h, D_temperature_c) + h->index;
    return OK;
}
ret nvmlDeviceGetMarginTemperature(handle h, unsigned *margin) {
    ENTER(h);
    margin[1] = 87 - of(h, D_temperature_c) - h->index;
    return OK;
}
ret nvmlDeviceGetTemperatureThreshold(handle h, unsigned kind, unsigned *celsius) {
    static const unsigned limits[] = {92, 89, 95, 87};
    ENTER(h);
    if (kind > 3) return NOT_SUPPORTED;
    *celsius = limits[kind];
    return OK;
}
ret nvmlDeviceGetPowerUsage(handle h, unsigned *mw) {
    ENTER(h);
    if (!knob(G_has_power)) return NOT_SUPPORTED;
    *mw = of(h, D_power_mw);
    return OK;
}
ret nvmlDeviceGetEnforcedPowerLimit(handle h, unsigned *mw) { ENTER(h); *mw = 700000; return OK; }
ret nvmlDeviceGetCurrentClocksEventReasons(handle h, uint64_t *reasons) {
    ENTER(h);
    *reasons = of(h, D_clock_event_reasons);
    return OK;
}
ret nvmlDeviceGetCurrPcieLinkGeneration(handle h, unsigned *n) { ENTER(h); *n = 5; return OK; }
ret nvmlDeviceGetMaxPcieLinkGeneration(handle h, unsigned *n) { ENTER(h); *n = 5; return OK; }
ret nvmlDeviceGetCurrPcieLinkWidth(handle h, unsigned *n) { ENTER(h); *n = of(h, D_pcie_width); return OK; }
ret nvmlDeviceGetMaxPcieLinkWidth(handle h, unsigned *n) { ENTER(h); *n = 16; return OK; }

/* -- fields --------------------------------------------------------------------------------- */

struct field {
    unsigned id, scope;
    int64_t timestamp, latency;
    unsigned type, result;
    union { double d; unsigned u; uint64_t ull; int64_t sll; int i; } value;
};
enum { T_DOUBLE, T_UINT, T_ULONG, T_ULL, T_SLL, T_INT };

static void u64(struct field *f, uint64_t v) { f->type = T_ULL; f->value.ull = v; f->result = OK; }
static void u32(struct field *f, unsigned v) { f->type = T_UINT; f->value.u = v; f->result = OK; }
static void s32(struct field *f, int v) { f->type = T_INT; f->value.i = v; f->result = OK; }

static void link_field(handle h, struct field *f) {
    uint64_t us = now_us();
    if (f->scope != 0xFFFFFFFFu && f->scope >= LINKS) { f->result = INVALID_ARGUMENT; return; }
    int down = f->scope != 0xFFFFFFFFu && of(h, D_link_down_mask) >> f->scope & 1;
    if (!knob(G_has_link_fields) && f->id >= 161 && f->id <= 165) return;
    switch (f->id) {
    case 138: case 139: u64(f, us / 1000 * (f->scope == 0xFFFFFFFFu ? LINKS : 1)); return;
    case 161: u64(f, 10 + f->scope); return;
    case 162: u64(f, down ? 3 : 0); return;
    case 163: u64(f, 0); return;
    case 164: u32(f, 26562); return;
    case 165: u32(f, !down); return;
    }
    if (!knob(G_has_nvlink5)) return;
    switch (f->id) {
    case 202: case 204: u64(f, us * 100); return;
    case 220: case 222: u64(f, 3 << 8 | 15); return; /* 3e-15 */
    case 201: case 203: case 206: case 207: case 208: case 209: case 210: case 211: case 212:
    case 213: case 214: case 215: case 219: case 221: u64(f, f->id); return;
    }
    if (f->id >= 235 && f->id <= 250) u64(f, f->id - 235);
}

static void fill(handle h, struct field *f) {
    uint64_t us = now_us();
    f->result = NOT_SUPPORTED;
    f->timestamp = us;
    switch (f->id) {
    case 82: u32(f, of(h, D_temperature_c) + 10); return;
    case 83: u64(f, us / 1000); return;
    case 186: u32(f, of(h, D_power_mw) + 1500); return;
    case 188: case 189: u32(f, 700000); return;
    case 74: u64(f, us); return;
    case 76: case 269: case 270: case 271: u64(f, 0); return;
    case 91: u32(f, LINKS); return;
    case 94: u32(f, of(h, D_pcie_replays)); return;
    case 95: u32(f, 0); return;
    case 193: s32(f, -8); return;
    case 194: s32(f, -2); return;
    case 195: case 196: s32(f, 0); return;
    case 197: u32(f, (unsigned)(us * 50)); return; /* 32 bits, as some drivers tell it */
    case 198: u64(f, us * 70); return;
    case 230: u32(f, of(h, D_recovery_action)); return;
    case 142: u32(f, of(h, D_remap_correctable)); return;
    case 143: u32(f, of(h, D_remap_uncorrectable)); return;
    case 144: u32(f, of(h, D_remap_pending)); return;
    case 145: u32(f, of(h, D_remap_failed)); return;
    case 169: u32(f, 1); return;
    }
    if (f->id >= 173 && f->id <= 183) { u32(f, of(h, D_pcie_errors)); return; }
    if (f->id >= 3 && f->id <= 28 && knob(G_has_ecc)) {
        int corrected = f->id <= 6 ? f->id & 1 : f->id < 17 ? f->id & 1 : !(f->id & 1);
        if (f->id == 17 || f->id == 28) corrected = 0;
        u64(f, of(h, corrected ? D_ecc_corrected : D_ecc_uncorrected));
        return;
    }
    link_field(h, f);
}

ret nvmlDeviceGetFieldValues(handle h, int count, struct field *fields) {
    ENTER(h);
    if (count <= 0 || !fields) return INVALID_ARGUMENT;
    for (int n = 0; n < count; n++) fill(h, &fields[n]);
    return OK;
}

ret nvmlDeviceGetNvLinkState(handle h, unsigned link, unsigned *active) {
    ENTER(h);
    if (link >= LINKS) return INVALID_ARGUMENT;
    *active = !(of(h, D_link_down_mask) >> link & 1);
    return OK;
}

/* -- memory errors -------------------------------------------------------------------------- */

struct sram {
    unsigned version;
    uint64_t aggregate_parity, aggregate_secded, aggregate_corrected;
    uint64_t volatile_parity, volatile_secded, volatile_corrected;
    uint64_t l2, sm, pcie, mcu, other;
    unsigned threshold;
};
ret nvmlDeviceGetSramEccErrorStatus(handle h, struct sram *s) {
    ENTER(h);
    if (s->version != (sizeof *s | 1u << 24)) return INVALID_ARGUMENT;
    if (!knob(G_has_ecc)) return NOT_SUPPORTED;
    unsigned version = s->version;
    memset(s, 0, sizeof *s);
    s->version = version;
    s->aggregate_secded = s->volatile_secded = s->sm = of(h, D_sram_uncorrected);
    s->threshold = of(h, D_sram_threshold);
    return OK;
}
ret nvmlDeviceGetRowRemapperHistogram(handle h, unsigned *banks) {
    ENTER(h);
    unsigned used = of(h, D_remap_uncorrectable) + of(h, D_remap_correctable);
    banks[0] = 640 - used, banks[1] = used, banks[2] = banks[3] = banks[4] = 0;
    return OK;
}
ret nvmlDeviceGetRepairStatus(handle h, unsigned *status) { ENTER(h); (void)status; return NOT_SUPPORTED; }

struct fabric { unsigned version; unsigned char cluster[16]; unsigned status, clique, state, health; };
ret nvmlDeviceGetGpuFabricInfoV(handle h, struct fabric *f) {
    ENTER(h);
    if (f->version != (sizeof *f | 2u << 24)) return INVALID_ARGUMENT;
    f->status = OK, f->clique = 0, f->state = of(h, D_fabric_state), f->health = 2;
    return OK;
}

/* -- processes, activity, events ------------------------------------------------------------- */

struct process { unsigned pid; uint64_t memory; unsigned gpu_instance, compute_instance; };
ret nvmlDeviceGetComputeRunningProcesses_v3(handle h, unsigned *count, struct process *p) {
    ENTER(h);
    unsigned room = *count;
    *count = knob(G_process_count);
    if (room < *count) return INSUFFICIENT_SIZE;
    for (unsigned n = 0; n < *count; n++)
        p[n] = (struct process){1000 + 100 * h->index + n, n == 1 ? ~0ull : 1ull << 30, ~0u, ~0u};
    return OK;
}

struct gpm_support { unsigned version, supported; };
ret nvmlGpmQueryDeviceSupport(handle h, struct gpm_support *s) { ENTER(h); s->supported = knob(G_has_gpm); return OK; }
ret nvmlGpmSampleAlloc(uint64_t **sample) { ENTER(NULL); *sample = calloc(1, 64); return OK; }
ret nvmlGpmSampleFree(uint64_t *sample) { ENTER(NULL); free(sample); return OK; }
ret nvmlGpmSampleGet(handle h, uint64_t *sample) { ENTER(h); sample[0] = now_us(); sample[1] = h->index; return OK; }

struct gpm_metric { unsigned id, result; double value; const char *names[3]; };
struct gpm { unsigned version, count; uint64_t *older, *newer; struct gpm_metric metrics[]; };
ret nvmlGpmMetricsGet(struct gpm *g) {
    ENTER(NULL);
    if (g->version != 1 || !g->older || !g->newer || g->newer[0] < g->older[0]) return INVALID_ARGUMENT;
    __atomic_fetch_add(&control->calls[g->newer[1] % DEVICES], 1, __ATOMIC_RELAXED);
    for (unsigned n = 0; n < g->count; n++) {
        g->metrics[n].result = g->metrics[n].id == 3 ? NOT_SUPPORTED : OK;
        g->metrics[n].value = g->metrics[n].id + 0.5;
    }
    return OK;
}

struct event { handle device; uint64_t type, data; unsigned gpu_instance, compute_instance; };
ret nvmlEventSetCreate(void **set) { ENTER(NULL); *set = calloc(1, 8); return OK; }
ret nvmlEventSetFree(void *set) { ENTER(NULL); free(set); return OK; }
ret nvmlDeviceGetSupportedEventTypes(handle h, uint64_t *types) { ENTER(h); *types = 0x9f; return OK; }
ret nvmlDeviceRegisterEvents(handle h, uint64_t types, void *set) {
    ENTER(h);
    (void)set;
    return types & ~0x9full ? NOT_SUPPORTED : OK;
}
ret nvmlEventSetWait_v2(void *set, struct event *e, unsigned timeout_ms) {
    ENTER(NULL);
    (void)set, (void)timeout_ms;
    if (tick_calls > knob(G_tick_calls_max)) control->global[G_tick_calls_max] = tick_calls;
    tick_calls = 0;
    if (events_taken >= knob(G_event_serial)) return TIMEOUT;
    events_taken++;
    *e = (struct event){&devices[knob(G_event_device)], knob(G_event_type), knob(G_event_data), ~0u, ~0u};
    return OK;
}
