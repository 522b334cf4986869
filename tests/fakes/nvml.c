/* A libnvidia-ml.so.1 that reports what a text file says, so that the real pynvml can be tested without a GPU.
 *
 * The file named by NVML_SCRIPT is read again on every call: a test may change it while a program runs.
 *
 *   init <code>                                  nvmlInit returns this code (9: driver not loaded)
 *   driver <version> <cuda>                      driver version, and CUDA as NVML writes it (12040 is 12.4)
 *   gpu <total MiB> <used MiB> <code> <name>     one device; a code other than 0 is what its queries return
 *                                                (15: lost, 3: not supported)
 *   capability <gpu> <major> <minor>             a device's compute capability; without this line it is not supported
 *   process <gpu> <pid> <used MiB>               a process that computes on a device
 *   processes <code>                             asking for processes returns this code
 *   mig <gpu>                                    a device's MIG mode is on; without this line it is not supported
 *   instance <gpu> <slot> <total MiB> <used MiB> <name>   a MIG instance in one of the device's 7 slots
 *   instanceprocess <gpu> <slot> <pid> <used MiB>         a process that computes on an instance
 *   aggregate <code>                             asking a device in MIG mode for its memory or processes returns this
 *                                                code (4: no permission); its instances answer
 *
 * The n-th device has the UUID GPU-<n>0000000-fake, the instance in its slot s MIG-<n><s>000000-fake.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { VERSION_MISMATCH = 25 };
enum { MAX_GPUS = 16, SLOTS = 7, MAX_PROCESSES = 64 };
#define MIB (1024ULL * 1024ULL)

typedef unsigned long long bytes;
typedef struct { bytes total, used; char name[96]; } device;
typedef struct { device whole, slot[SLOTS]; int code, major, minor, mig; } gpu;
typedef struct { unsigned gpu, slot, pid; bytes used; } process; /* slot SLOTS: the device as a whole */
typedef struct {
    int init, cuda, hidden, aggregate, gpus, processes;
    char driver[80];
    gpu gpu[MAX_GPUS];
    process process[MAX_PROCESSES];
} script;

typedef struct { bytes total, free, used; } memory_v1;
typedef struct { unsigned version; bytes total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned pid; bytes used; unsigned gpu_instance, compute_instance; } process_info;

static int started;

static void read_gpu(script *s, const char *line) {
    gpu *g = &s->gpu[s->gpus];
    device new, *d = &g->whole;
    unsigned number, slot;
    int major, minor;
    if (s->gpus < MAX_GPUS && sscanf(line, "gpu %llu %llu %d %95[^\n]", &d->total, &d->used, &g->code, d->name) == 4)
        s->gpus++;
    if (sscanf(line, "capability %u %d %d", &number, &major, &minor) == 3 && number < (unsigned)s->gpus) {
        s->gpu[number].major = major;
        s->gpu[number].minor = minor;
    }
    if (sscanf(line, "mig %u", &number) == 1 && number < (unsigned)s->gpus) s->gpu[number].mig = 1;
    if (sscanf(line, "instance %u %u %llu %llu %95[^\n]", &number, &slot, &new.total, &new.used, new.name) == 5)
        if (number < (unsigned)s->gpus && slot < SLOTS) s->gpu[number].slot[slot] = new;
}

static void read_line(script *s, const char *line) {
    process *p = &s->process[s->processes];
    sscanf(line, "init %d", &s->init);
    sscanf(line, "processes %d", &s->hidden);
    sscanf(line, "aggregate %d", &s->aggregate);
    sscanf(line, "driver %79s %d", s->driver, &s->cuda);
    read_gpu(s, line);
    if (s->processes == MAX_PROCESSES) return;
    p->slot = SLOTS;
    if (sscanf(line, "process %u %u %llu", &p->gpu, &p->pid, &p->used) == 3
        || sscanf(line, "instanceprocess %u %u %u %llu", &p->gpu, &p->slot, &p->pid, &p->used) == 4)
        s->processes++;
}

static script load(void) {
    script s = {0};
    char line[256];
    const char *path = getenv("NVML_SCRIPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    strcpy(s.driver, "580.65.06");
    s.cuda = 13000;
    while (file && fgets(line, sizeof line, file)) read_line(&s, line);
    if (file) fclose(file);
    return s;
}

/* A handle is 8 * (the device's number + 1), and for an instance its slot + 1 on top. */
static unsigned number_of(void *handle) { return (unsigned)((long)handle / 8 - 1); }
static unsigned slot_of(void *handle) { return (long)handle % 8 ? (unsigned)((long)handle % 8 - 1) : SLOTS; }

static int find(const script *s, void *handle, const gpu **g, const device **d) {
    unsigned number = number_of(handle), slot = slot_of(handle);
    if (!started) return UNINITIALIZED;
    if (number >= (unsigned)s->gpus) return INVALID_ARGUMENT;
    *g = &s->gpu[number];
    *d = slot == SLOTS ? &(*g)->whole : &(*g)->slot[slot];
    return (*g)->code;
}

/* As `find`, for what a device in MIG mode may keep to itself. */
static int find_sum(const script *s, void *handle, const gpu **g, const device **d) {
    int code = find(s, handle, g, d);
    return code == OK && (*g)->mig && slot_of(handle) == SLOTS ? s->aggregate : code;
}

int nvmlInitWithFlags(unsigned flags) {
    int code = load().init;
    (void)flags;
    if (code == OK) started++;
    return code;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return started ? (started--, OK) : UNINITIALIZED; }
const char *nvmlErrorString(int code) {
    return code == 15 ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : code == 4 ? "Insufficient Permissions" : "scripted error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    script s = load();
    snprintf(text, size, "%s", s.driver);
    return OK;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = load().cuda; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)load().gpus; return started ? OK : UNINITIALIZED; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    if (!started) return UNINITIALIZED;
    if ((int)index >= load().gpus) return INVALID_ARGUMENT;
    *handle = (void *)(8L * (index + 1));
    return OK;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK) snprintf(text, size, "%s", d->name);
    return code;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK && slot_of(handle) == SLOTS) snprintf(text, size, "GPU-%u0000000-fake", number_of(handle));
    else if (code == OK) snprintf(text, size, "MIG-%u%u000000-fake", number_of(handle), slot_of(handle));
    return code;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK && !g->major) code = NOT_SUPPORTED;
    if (code == OK) *major = g->major, *minor = g->minor;
    return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_v1 *memory) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find_sum(&s, handle, &g, &d);
    if (code == OK) *memory = (memory_v1){d->total * MIB, (d->total - d->used) * MIB, d->used * MIB};
    return code;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2 *memory) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find_sum(&s, handle, &g, &d);
    if (memory->version != (0x02000000u | sizeof *memory)) return VERSION_MISMATCH;
    if (code == OK)
        *memory = (memory_v2){memory->version, d->total * MIB, 0, (d->total - d->used) * MIB, d->used * MIB};
    return code;
}

int nvmlDeviceGetUtilizationRates(void *handle, utilization *rates) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK) *rates = (utilization){100, d->total ? (unsigned)(100 * d->used / d->total) : 0};
    return code;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK && !g->mig) code = NOT_SUPPORTED;
    if (code == OK) *current = *pending = 1;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK) *count = g->mig ? SLOTS : 0;
    return code;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find(&s, handle, &g, &d);
    if (code == OK && (index >= SLOTS || !g->slot[index].total)) code = NOT_FOUND;
    if (code == OK) *instance = (void *)((long)handle + index + 1);
    return code;
}

/* A device as a whole tells of the processes on all of its instances too. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *list) {
    script s = load();
    const gpu *g;
    const device *d;
    int code = find_sum(&s, handle, &g, &d);
    unsigned room = *count, found = 0, slot = slot_of(handle);
    if (code == OK) code = s.hidden;
    if (code != OK) return code;
    for (int i = 0; i < s.processes; i++) {
        const process *p = &s.process[i];
        if (p->gpu != number_of(handle) || (slot != SLOTS && slot != p->slot)) continue;
        if (list && found < room)
            list[found] = (process_info){p->pid, p->used * MIB, p->slot < SLOTS ? p->slot : ~0u, p->slot < SLOTS ? 0 : ~0u};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}
