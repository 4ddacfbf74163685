/* A libcuda.so.1 of no device, which notes in the file $SAM3_TEST_DRIVER_LOG which process calls it:
   "PROCESS CALL CUDA_VISIBLE_DEVICES" on a line. The runtime asks it for every function by name, and gets `refuse`. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUCCESS = 0, NO_DEVICE = 100, VERSION = 13020 };

static void note(const char *call) {
    const char *path = getenv("SAM3_TEST_DRIVER_LOG"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    int log = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (log >= 0) {
        dprintf(log, "%d %s %s\n", getpid(), call, visible ? (*visible ? visible : "none") : "unset");
        close(log);
    }
}

__attribute__((constructor)) static void loaded(void) { note("loaded"); }

static int refuse(void) {
    note("called");
    return NO_DEVICE;
}

int cuInit(unsigned flags) {
    (void)flags;
    return refuse();
}

int cuDriverGetVersion(int *version) {
    note("called");
    *version = VERSION;
    return SUCCESS;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long flags, int *status) {
    (void)name, (void)version, (void)flags;
    *function = (void *)refuse;
    if (status)
        *status = 0;
    return SUCCESS;
}
