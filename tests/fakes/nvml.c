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
 *
 * The n-th device has the UUID GPU-<n>0000000-fake.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, VERSION_MISMATCH = 25 };
enum { MAX_GPUS = 16, MAX_PROCESSES = 64 };
#define MIB (1024ULL * 1024ULL)

typedef unsigned long long bytes;
typedef struct { bytes total, used; int code, major, minor; char name[96]; } gpu;
typedef struct { unsigned gpu, pid; bytes used; } process;
typedef struct { int init, cuda, hidden, gpus, processes; char driver[80]; gpu gpu[MAX_GPUS]; process process[MAX_PROCESSES]; } script;

typedef struct { bytes total, free, used; } memory_v1;
typedef struct { unsigned version; bytes total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned pid; bytes used; unsigned gpu_instance, compute_instance; } process_info;

static int started;

static void read_line(script *s, char *line) {
    gpu *g = &s->gpu[s->gpus];
    process *p = &s->process[s->processes];
    unsigned number;
    int major, minor;
    sscanf(line, "init %d", &s->init);
    sscanf(line, "processes %d", &s->hidden);
    sscanf(line, "driver %79s %d", s->driver, &s->cuda);
    if (s->gpus < MAX_GPUS && sscanf(line, "gpu %llu %llu %d %95[^\n]", &g->total, &g->used, &g->code, g->name) == 4)
        s->gpus++;
    if (sscanf(line, "capability %u %d %d", &number, &major, &minor) == 3 && number < (unsigned)s->gpus) {
        s->gpu[number].major = major;
        s->gpu[number].minor = minor;
    }
    if (s->processes < MAX_PROCESSES && sscanf(line, "process %u %u %llu", &p->gpu, &p->pid, &p->used) == 3)
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

/* Handles are the device's number plus one, so that none is NULL. */
static int find(const script *s, void *handle, const gpu **found) {
    long number = (long)handle - 1;
    if (!started) return UNINITIALIZED;
    if (number < 0 || number >= s->gpus) return INVALID_ARGUMENT;
    *found = &s->gpu[number];
    return s->gpu[number].code;
}

int nvmlInitWithFlags(unsigned flags) {
    int code = load().init;
    (void)flags;
    if (code == OK) started++;
    return code;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return started ? (started--, OK) : UNINITIALIZED; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : "scripted error"; }

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
    *handle = (void *)(long)(index + 1);
    return OK;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    if (code == OK) snprintf(text, size, "%s", g->name);
    return code;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    if (code == OK) snprintf(text, size, "GPU-%ld0000000-fake", (long)handle - 1);
    return code;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    if (code == OK && !g->major) code = NOT_SUPPORTED;
    if (code == OK) *major = g->major, *minor = g->minor;
    return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_v1 *memory) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    if (code == OK) *memory = (memory_v1){g->total * MIB, (g->total - g->used) * MIB, g->used * MIB};
    return code;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2 *memory) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    if (memory->version != (0x02000000u | sizeof *memory)) return VERSION_MISMATCH;
    if (code == OK)
        *memory = (memory_v2){memory->version, g->total * MIB, 0, (g->total - g->used) * MIB, g->used * MIB};
    return code;
}

int nvmlDeviceGetUtilizationRates(void *handle, utilization *rates) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    if (code == OK) *rates = (utilization){100, g->total ? (unsigned)(100 * g->used / g->total) : 0};
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *list) {
    script s = load();
    const gpu *g;
    int code = find(&s, handle, &g);
    unsigned room = *count, found = 0;
    if (code == OK) code = s.hidden;
    if (code != OK) return code;
    for (int i = 0; i < s.processes; i++) {
        if (s.process[i].gpu != (unsigned)(g - s.gpu)) continue;
        if (list && found < room) list[found] = (process_info){s.process[i].pid, s.process[i].used * MIB, ~0u, ~0u};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}
