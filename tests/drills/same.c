/* The same time and the same random numbers in every run of a program (LD_PRELOAD), so that what two runs leave can be
   compared. In: SAME, a number of seconds since 1970, from which both follow. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static unsigned long seconds(void) { return strtoul(getenv("SAME"), 0, 10); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock != CLOCK_REALTIME)
        return syscall(SYS_clock_gettime, clock, time);
    time->tv_sec = seconds();
    time->tv_nsec = 0;
    return 0;
}

ssize_t getrandom(void *bytes, size_t length, unsigned flags) {
    static unsigned long calls;
    unsigned long state = seconds() * 1000003 + __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    for (size_t at = 0; at < length; at++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ((unsigned char *)bytes)[at] = state >> 56;
    }
    return length;
}
