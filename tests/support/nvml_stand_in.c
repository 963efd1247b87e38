/* A libnvidia-ml.so.1 for tests: NVIDIA's A10 of recorded_hardware.py, or, by NVML_STAND_IN, a library that crashes, hangs or refuses.
   Signatures: https://docs.nvidia.com/deploy/nvml-api */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9 };

static const unsigned long long MIB = 1ull << 20;

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

static int is(const char *mode) {
    const char *asked = getenv("NVML_STAND_IN");
    return asked != NULL && strcmp(asked, mode) == 0;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (is("crash")) raise(SIGSEGV);
    while (is("hang")) pause();
    return is("refuse") ? DRIVER_NOT_LOADED : SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(size_t)(index + 1); return SUCCESS; }

static int text(const char *value, char *buffer, unsigned length) {
    strncpy(buffer, value, length);
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *buffer, unsigned length) { return text("550.127.05", buffer, length); }

int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return SUCCESS; }

int nvmlDeviceGetName(void *device, char *buffer, unsigned length) { (void)device; return text("NVIDIA A10", buffer, length); }

int nvmlDeviceGetUUID(void *device, char *buffer, unsigned length) {
    (void)device;
    return text("GPU-51ae0086-e1ac-4a20-f062-9caa44e4df6d", buffer, length);
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    (void)device;
    *major = 8;
    *minor = 6;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory) {
    (void)device;
    memory->total = 23028 * MIB;
    memory->reserved = 526 * MIB;
    memory->free = 22503 * MIB;
    memory->used = 1 * MIB;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
    (void)device, (void)current, (void)pending;
    return NOT_SUPPORTED;
}
