/*
 * libnvidia-ml.so.1 of a simulated GPU: what nvidia-ml-py needs to report the ledger folder that
 * GPU_RELAY_SIMULATED_GPU names (its layout is in simulated.py). One folder is one GPU, with index 0.
 *
 * Every call reads the folder again. Used memory is the sum of the bookings on which some process holds an exclusive
 * flock. Readers never keep a booking waiting: a reading made while one process releases and another books may count
 * both, which understates free memory and never overstates it; sums are clamped to what the device has.
 *
 * `nvmlInit`, the unversioned name, is missing on purpose: PyTorch counts CUDA devices with it, and there is no CUDA
 * device here. nvidia-ml-py uses nvmlInitWithFlags. Depends on nothing but libc.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MIB (1ULL << 20)

/* Names, values and layouts are NVML's (nvml.h). */
typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_CORRUPTED_INFOROM = 14,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_OPERATING_SYSTEM = 17,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
} nvmlReturn_t;

typedef struct device *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
#define NVML_MEMORY_V2 ((unsigned int)(sizeof(nvmlMemory_v2_t) | (2 << 24)))

struct device { char unused; };
static struct device the_gpu;

static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int initialised;
static char ledger[PATH_MAX];

/* ---- the ledger ------------------------------------------------------------------------------------------------- */

static nvmlReturn_t from_errno(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return NVML_ERROR_GPU_IS_LOST;
    case EACCES:
    case EPERM:
        return NVML_ERROR_NO_PERMISSION;
    default:
        return NVML_ERROR_OPERATING_SYSTEM;
    }
}

/* A whole small file without its trailing newline. */
static nvmlReturn_t read_descriptor(int descriptor, char *text, size_t size) {
    ssize_t length;
    do {
        length = read(descriptor, text, size - 1);
    } while (length < 0 && errno == EINTR);
    if (length < 0)
        return from_errno(errno);
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return NVML_SUCCESS;
}

static nvmlReturn_t read_line(const char *folder, const char *name, char *text, size_t size) {
    char path[PATH_MAX + NAME_MAX + 2];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return from_errno(errno);
    nvmlReturn_t result = read_descriptor(descriptor, text, size);
    close(descriptor);
    return result;
}

static nvmlReturn_t to_number(const char *text, unsigned long long *number) {
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno || end == text || *end ? NVML_ERROR_CORRUPTED_INFOROM : NVML_SUCCESS;
}

static nvmlReturn_t read_number(const char *folder, const char *name, unsigned long long *number) {
    char text[32];
    nvmlReturn_t result = read_line(folder, name, text, sizeof text);
    return result ? result : to_number(text, number);
}

/* What one booking holds: 0 when no process holds its lock, or when it vanished meanwhile. */
static nvmlReturn_t read_booking(int folder, const char *name, unsigned long long *mib) {
    *mib = 0;
    int descriptor = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return errno == ENOENT ? NVML_SUCCESS : from_errno(errno);
    nvmlReturn_t result = NVML_SUCCESS;
    if (flock(descriptor, LOCK_SH | LOCK_NB) == 0) {
        flock(descriptor, LOCK_UN); /* by name: a child forked meanwhile would keep a lock that is merely closed here */
    } else if (errno == EWOULDBLOCK) {
        char text[32];
        result = read_descriptor(descriptor, text, sizeof text);
        if (!result)
            result = to_number(text, mib);
    } else {
        result = from_errno(errno);
    }
    close(descriptor);
    return result;
}

static nvmlReturn_t sum_bookings(const char *folder, unsigned long long *sum) {
    char path[PATH_MAX + NAME_MAX + 2];
    snprintf(path, sizeof path, "%s/bookings", folder);
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return from_errno(errno);
    DIR *bookings = fdopendir(descriptor);
    if (!bookings) {
        nvmlReturn_t result = from_errno(errno);
        close(descriptor);
        return result;
    }
    nvmlReturn_t result = NVML_SUCCESS;
    struct dirent *entry;
    *sum = 0;
    while (!result && (entry = readdir(bookings))) {
        if (entry->d_name[0] == '.') /* the folder itself, and bookings in the making */
            continue;
        unsigned long long mib;
        result = read_booking(descriptor, entry->d_name, &mib);
        *sum += mib;
    }
    closedir(bookings);
    return result;
}

/* Bytes. */
static nvmlReturn_t measure(const char *folder, nvmlMemory_v2_t *memory) {
    unsigned long long total, reserved, used;
    nvmlReturn_t result = read_number(folder, "total_mib", &total);
    if (!result)
        result = read_number(folder, "reserved_mib", &reserved);
    if (!result)
        result = sum_bookings(folder, &used);
    if (result)
        return result;
    if (reserved > total)
        return NVML_ERROR_CORRUPTED_INFOROM;
    if (used > total - reserved)
        used = total - reserved;
    memory->total = total * MIB;
    memory->reserved = reserved * MIB;
    memory->used = used * MIB;
    memory->free = (total - reserved - used) * MIB;
    return NVML_SUCCESS;
}

/* ---- what every call begins with -------------------------------------------------------------------------------- */

static nvmlReturn_t begin(char folder[PATH_MAX]) {
    pthread_mutex_lock(&state_lock);
    bool ready = initialised > 0;
    if (ready)
        memcpy(folder, ledger, PATH_MAX);
    pthread_mutex_unlock(&state_lock);
    return ready ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
}

static nvmlReturn_t begin_on(nvmlDevice_t device, const void *answer, char folder[PATH_MAX]) {
    nvmlReturn_t result = begin(folder);
    if (result)
        return result;
    return device == &the_gpu && answer ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t copy_text(const char *text, char *answer, unsigned int length) {
    if (strlen(text) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(answer, text);
    return NVML_SUCCESS;
}

static nvmlReturn_t describe(nvmlDevice_t device, const char *what, char *answer, unsigned int length) {
    char folder[PATH_MAX], text[256];
    nvmlReturn_t result = begin_on(device, answer, folder);
    if (!result)
        result = read_line(folder, what, text, sizeof text);
    return result ? result : copy_text(text, answer, length);
}

/* ---- NVML ------------------------------------------------------------------------------------------------------- */

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    nvmlReturn_t result = NVML_SUCCESS;
    pthread_mutex_lock(&state_lock);
    if (initialised == 0) {
        const char *folder = getenv("GPU_RELAY_SIMULATED_GPU");
        char uuid[256];
        if (!folder || !*folder || strlen(folder) >= sizeof ledger || read_line(folder, "uuid", uuid, sizeof uuid))
            result = NVML_ERROR_DRIVER_NOT_LOADED;
        else
            strcpy(ledger, folder);
    }
    if (!result)
        initialised++;
    pthread_mutex_unlock(&state_lock);
    return result;
}

EXPORT nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

EXPORT nvmlReturn_t nvmlShutdown(void) {
    nvmlReturn_t result = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&state_lock);
    if (initialised > 0) {
        initialised--;
        result = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&state_lock);
    return result;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_FUNCTION_NOT_FOUND: return "Function Not Found";
    case NVML_ERROR_CORRUPTED_INFOROM: return "The ledger of this simulated GPU is corrupted";
    case NVML_ERROR_GPU_IS_LOST: return "The ledger of this simulated GPU is gone";
    case NVML_ERROR_OPERATING_SYSTEM: return "Operating System Error";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument Version Mismatch";
    }
    return "Unknown Error";
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    char folder[PATH_MAX];
    nvmlReturn_t result = begin(folder);
    if (result)
        return result;
    return version ? copy_text("580.0-simulated", version, length) : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    char folder[PATH_MAX];
    nvmlReturn_t result = begin_on(&the_gpu, count, folder);
    if (!result)
        *count = 1;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    char folder[PATH_MAX];
    nvmlReturn_t result = begin_on(&the_gpu, device, folder);
    if (result)
        return result;
    if (index != 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    *device = &the_gpu;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    char own[256];
    nvmlReturn_t result = describe(&the_gpu, "uuid", own, sizeof own);
    if (result)
        return result;
    if (!uuid || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strcasecmp(uuid, own) != 0)
        return NVML_ERROR_NOT_FOUND;
    *device = &the_gpu;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    char folder[PATH_MAX];
    nvmlReturn_t result = begin_on(device, index, folder);
    if (!result)
        *index = 0;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    return describe(device, "uuid", uuid, length);
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    return describe(device, "name", name, length);
}

/* Version 1 knows no reserve and counts it as used, as a real driver does. */
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    char folder[PATH_MAX];
    nvmlMemory_v2_t now;
    nvmlReturn_t result = begin_on(device, memory, folder);
    if (!result)
        result = measure(folder, &now);
    if (result)
        return result;
    *memory = (nvmlMemory_t){.total = now.total, .free = now.free, .used = now.used + now.reserved};
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    char folder[PATH_MAX];
    nvmlReturn_t result = begin_on(device, memory, folder);
    if (result)
        return result;
    return memory->version == NVML_MEMORY_V2 ? measure(folder, memory) : NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

/* A ledger knows memory only: no load is simulated. */
EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    char folder[PATH_MAX];
    nvmlReturn_t result = begin_on(device, utilization, folder);
    return result ? result : NVML_ERROR_NOT_SUPPORTED;
}
