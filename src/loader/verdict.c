#include "loader/verdict.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/base.h"

struct words {
    char *text;
    size_t bytes, used;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->text + w->used, w->bytes - w->used, format, args);
    va_end(args);
    w->used = STN_MIN(w->used + (size_t)(n > 0 ? n : 0), w->bytes - 1);
}

static void say_mb(struct words *w, uint64_t bytes) {
    double mb = (double)bytes / 1e6;
    say(w, "%.*f", mb >= 9.95 ? 0 : mb >= 0.995 ? 1 : 3, mb);
}

/* As --memory takes it: a power of two that is enough. */
static void say_size(struct words *w, uint64_t bytes) {
    uint64_t mib = 1;
    while (mib << 20 < bytes && mib < UINT64_C(1) << 40) mib *= 2;
    if (mib >= 1024)
        say(w, "%lluGiB", (unsigned long long)mib / 1024);
    else
        say(w, "%lluMiB", (unsigned long long)mib);
}

uint64_t stn_link_of(uint64_t rate_bytes_s, const char **name) {
    static const struct {
        const char *name;
        uint64_t mbit_s;
    } links[] = {{"10 Mb/s", 10},    {"100 Mb/s", 100},   {"1 Gb/s", 1000},   {"2 Gb/s", 2000},
                 {"2.5 Gb/s", 2500}, {"5 Gb/s", 5000},    {"10 Gb/s", 10000}, {"25 Gb/s", 25000},
                 {"40 Gb/s", 40000}, {"100 Gb/s", 100000}};
    for (size_t i = 0; i < STN_COUNT(links); i++) {
        uint64_t payload = links[i].mbit_s * 125000 * 1448 / 1538;
        *name = links[i].name;
        if (rate_bytes_s >= payload / 100 * 95 && rate_bytes_s <= payload / 100 * 103)
            return payload;
    }
    *name = NULL;
    return 0;
}

static double share(uint64_t part, uint64_t of) { return of ? (double)part / (double)of : 0; }

static int is_local(const struct stn_verdict_facts *f) {
    return f->path.phase == STERNA_PATH_LOCAL;
}

/* "40 of 237 MB/s", as far as both are known. */
static void say_rate(struct words *w, const struct stn_verdict_facts *f) {
    const char *name;
    uint64_t most = stn_link_of(f->path.rate_max_bytes_s, &name);
    most = STN_MAX(most, f->path.rate_max_bytes_s); /* frames may be larger than we think */
    say_mb(w, f->rate_bytes_s);
    if (most > 0) {
        say(w, " of ");
        say_mb(w, most);
    }
    say(w, " MB/s");
    if (name)
        say(w, " that %s can carry", name);
    else if (most > 0)
        say(w, ", the most that this path has carried");
}

/* ---- one for each cause ---- */

static void say_connect(struct words *w, const struct stn_verdict_facts *f) {
    uint64_t ns = f->stall_ns[STERNA_STALL_CONNECT];
    say(w, "connect-bound: %.1f of %.1f s without a node or its first answer", (double)ns * 1e-9,
        (double)f->elapsed_ns * 1e-9);
    if (f->batches > 0)
        say(w, "; a longer run hides it");
    else if (f->path.trouble[0])
        say(w, "; last: %s", f->path.trouble);
}

static void say_latency(struct words *w, const struct stn_verdict_facts *f) {
    say(w, "latency-bound: ");
    say_rate(w, f);
    if (f->path.rtt_ns)
        say(w, ", round trip %.*f ms", f->path.rtt_ns < 9950000, (double)f->path.rtt_ns / 1e6);
    if (is_local(f))
        say(w, "; single reads take long, or the run is too short to read ahead");
    else if (f->path.phase == STERNA_PATH_RAMP ||
             f->elapsed_ns < STN_MAX(30 * f->path.rtt_ns, STN_NS_PER_S))
        say(w, "; most of this run was its start, which a longer one hides");
    else
        say(w, "; single answers come late: sterna probe STORE shows loss and buffers");
}

static void say_bandwidth(struct words *w, const struct stn_verdict_facts *f) {
    const char *name;
    if (is_local(f)) {
        say(w, "disk-bound: ");
        say_rate(w, f);
        say(w, " from disk and page cache; a disk that can do more may want more --threads");
        return;
    }
    say(w, "bandwidth-bound: ");
    say_rate(w, f);
    if (!stn_link_of(f->path.rate_max_bytes_s, &name))
        say(w, "; sterna probe STORE tells what limits it");
}

/* "12 retries, 3 overloaded answers": those there are. */
static void say_troubles(struct words *w, const struct stn_verdict_facts *f) {
    const struct {
        uint64_t n;
        const char *one, *many;
    } troubles[] = {
        {f->retries, "retry", "retries"},
        {f->path.overloaded, "overloaded answer", "overloaded answers"},
        {f->path.suspects, "request moved from a silent node", "requests moved from silent nodes"},
        {f->path.lost_connections, "lost connection", "lost connections"},
    };
    size_t n = 0;
    for (size_t i = 0; i < STN_COUNT(troubles); i++)
        if (troubles[i].n > 0)
            say(w, "%s%llu %s", n++ ? ", " : "", (unsigned long long)troubles[i].n,
                troubles[i].n == 1 ? troubles[i].one : troubles[i].many);
    if (n == 0) {
        say_rate(w, f);
        say(w, ", and nothing fails: look at the servers' load and disks");
    } else if (f->path.trouble[0]) {
        say(w, "; last: %s", f->path.trouble);
    }
}

static void say_server(struct words *w, const struct stn_verdict_facts *f) {
    say(w, "%s-bound: ", is_local(f) ? "store" : "server");
    say_troubles(w, f);
    if (is_local(f)) say(w, "; sterna verify lists what is damaged");
}

static void say_decode(struct words *w, const struct stn_verdict_facts *f) {
    say(w, "decode-bound: ");
    say_rate(w, f);
    say(w, "; checksums take %.0f %% of the time: the CPU is slow or busy",
        100 * share(f->stall_ns[STERNA_STALL_DECODE], f->elapsed_ns));
}

static void say_budget(struct words *w, const struct stn_verdict_facts *f) {
    uint64_t wanted = STN_MAX(f->wanted_bytes, 2 * f->memory_bytes);
    say(w, "budget-bound: ");
    say_mb(w, f->memory_bytes);
    say(w, " MB of memory hold ");
    if (f->leases > 1)
        say(w, "%llu batches of yours; release them sooner, or give ",
            (unsigned long long)f->leases);
    else
        say(w, "%.2g of what the %s needs; try ", share(f->memory_bytes, wanted),
            is_local(f) ? "store" : "path");
    say(w, "--memory ");
    say_size(w, wanted);
}

static void say_max_rate(struct words *w, const struct stn_verdict_facts *f) {
    say(w, "rate-bound: ");
    say_mb(w, f->rate_bytes_s);
    say(w, " of ");
    say_mb(w, f->max_rate_bytes_s);
    say(w, " MB/s that --max-rate or STERNA_MAX_RATE allows");
}

static void say_consumer(struct words *w, double waited) {
    say(w,
        "consumer-bound: the loader waited for you %.0f %% of the time; the store is not what "
        "limits",
        100 * (1 - waited));
}

/* ---- which ---- */

void stn_verdict(const struct stn_verdict_facts *f, char *text, size_t bytes) {
    static void (*const say_cause[STERNA_STALL_COUNT])(struct words *,
                                                       const struct stn_verdict_facts *) = {
        say_connect, say_latency, say_bandwidth, say_server, say_decode, say_budget, say_max_rate};
    struct words w = {text, bytes, 0};
    uint64_t sum_ns = 0, connect_ns = f->stall_ns[STERNA_STALL_CONNECT];
    enum sterna_stall most = STERNA_STALL_LATENCY;
    text[0] = 0;
    for (int c = 0; c < STERNA_STALL_COUNT; c++) sum_ns += f->stall_ns[c];
    for (int c = STERNA_STALL_LATENCY; c < STERNA_STALL_COUNT; c++)
        if (f->stall_ns[c] > f->stall_ns[most]) most = (enum sterna_stall)c;
    if (f->batches == 0 && sum_ns == 0) return;
    /* What came before the first answer counts only where it was most of the run. */
    double waited = share(sum_ns - connect_ns, f->elapsed_ns - connect_ns);
    if (connect_ns > f->elapsed_ns / 2 && connect_ns > f->stall_ns[most])
        say_connect(&w, f);
    else if (waited < 0.1)
        say_consumer(&w, waited);
    else
        say_cause[most](&w, f);
}
