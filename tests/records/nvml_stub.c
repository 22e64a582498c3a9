/* A libnvidia-ml.so.1 of two GPUs: the second cannot tell its power, and its utilisation rises with each call. */
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3 };
typedef struct {
    unsigned int gpu, memory;
} Utilisation;
typedef struct {
    unsigned long long total, free, used;
} Memory;

static char devices[2];
static unsigned int asked;

static int is_second(void* device) { return device == &devices[1]; }

int nvmlInitWithFlags(unsigned int flags) { return (void)flags, SUCCESS; }
int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char* nvmlErrorString(int code) { return code == NOT_SUPPORTED ? "Not Supported" : "Unknown Error"; }
int nvmlDeviceGetCount_v2(unsigned int* count) { return *count = 2, SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void** device) { return *device = &devices[index], SUCCESS; }
int nvmlDeviceGetUtilizationRates(void* device, Utilisation* rates) {
    return rates->gpu = is_second(device) ? ++asked : 50, rates->memory = 0, SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
    unsigned long long mib = 1024 * 1024;
    return memory->total = 81920 * mib, memory->used = (is_second(device) ? 2048 : 1024) * mib, memory->free = 0,
           SUCCESS;
}
int nvmlDeviceGetTemperature(void* device, int sensor, unsigned int* celsius) {
    return (void)sensor, *celsius = is_second(device) ? 61 : 60, SUCCESS;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned int* milliwatts) {
    return is_second(device) ? NOT_SUPPORTED : (*milliwatts = 412500, SUCCESS);
}
