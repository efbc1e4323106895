#include "base/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

static uint64_t number_in(const char *path) {
    char text[64] = "";
    FILE *f = fopen(path, "re");
    if (!f) return UINT64_MAX;
    const char *got = fgets(text, sizeof text, f);
    fclose(f);
    char *end;
    uint64_t value = strtoull(text, &end, 10); /* "max" is no number: no limit */
    return got && end != text ? value : UINT64_MAX;
}

/* The limit of every group on the way up from ours counts. */
static uint64_t cgroup_limit(const char *mount, const char *group, const char *file) {
    uint64_t limit = UINT64_MAX;
    char path[4096], at[2048];
    snprintf(at, sizeof at, "%s", group);
    for (;;) {
        snprintf(path, sizeof path, "%s%s/%s", mount, strcmp(at, "/") == 0 ? "" : at, file);
        limit = STN_MIN(limit, number_in(path));
        char *slash = strrchr(at, '/');
        if (!slash) return limit;
        *slash = '\0';
    }
}

uint64_t stn_memory_limit(void) {
    uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return limit;
    char line[2048];
    while (fgets(line, sizeof line, f)) { /* "0::/group" (v2) or "4:memory:/group" (v1) */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        uint64_t found = UINT64_MAX;
        if (strcmp(controllers + 1, "") == 0)
            found = cgroup_limit("/sys/fs/cgroup", group, "memory.max");
        else if (strcmp(controllers + 1, "memory") == 0)
            found = cgroup_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        limit = STN_MIN(limit, found);
    }
    fclose(f);
    return limit;
}

unsigned stn_local_ranks(void) {
    static const char *const names[] = {"LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE"};
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        const char *text = getenv(names[i]);
        int n = text ? atoi(text) : 0;
        if (n > 0) return (unsigned)n;
    }
    return 1;
}

unsigned stn_usable_cpus(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (unsigned)n : 1;
}
