#include "request/rate.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"

#define QUANTUM_NS STN_NS_PER_MS         /* more wake-ups would only cost */
#define CAPACITY_NS (10 * STN_NS_PER_MS) /* so late may a wake-up be without loss of rate */

__extension__ typedef unsigned __int128 u128;

void stn_rate_init(struct stn_rate *r, uint64_t bytes_s, uint64_t now_ns) {
    uint64_t filled_ns = STN_MIN(now_ns, QUANTUM_NS);
    *r = (struct stn_rate){.bytes_s = bytes_s, .empty_ns = now_ns - filled_ns};
}

int stn_rate_allows(const struct stn_rate *r, uint64_t now_ns) {
    return r->bytes_s == 0 || now_ns > r->empty_ns;
}

void stn_rate_take(struct stn_rate *r, uint64_t bytes, uint64_t now_ns) {
    if (r->bytes_s == 0) return;
    if (now_ns > CAPACITY_NS && r->empty_ns < now_ns - CAPACITY_NS) {
        r->empty_ns = now_ns - CAPACITY_NS; /* what it would hold beyond that is lost */
        r->rest = 0;
    }
    u128 lasts = (u128)bytes * STN_NS_PER_S + r->rest;
    r->empty_ns += (uint64_t)(lasts / r->bytes_s);
    r->rest = (uint64_t)(lasts % r->bytes_s);
}

uint64_t stn_rate_next_ns(const struct stn_rate *r) { return r->empty_ns + QUANTUM_NS; }

uint64_t stn_rate_lower(uint64_t a, uint64_t b) { return a == 0 ? b : b == 0 ? a : STN_MIN(a, b); }

/* What the unit at *text multiplies by; *text moves behind it. */
static uint64_t take_unit(const char **text) {
    static const char letters[] = "kmg";
    const char *letter = **text ? strchr(letters, tolower((unsigned char)**text)) : NULL;
    uint64_t unit = 1;
    if (!letter) return 1;
    int binary = tolower((unsigned char)(*text)[1]) == 'i';
    for (const char *l = letters; l <= letter; l++) unit *= binary ? 1024 : 1000;
    *text += 1 + binary;
    return unit;
}

static int parse(const char *text, uint64_t *bytes_s) {
    char *end;
    if (!isdigit((unsigned char)*text)) return -1;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    const char *at = end;
    double fraction = 0, digit = 0.1;
    if (*at == '.')
        for (at++; isdigit((unsigned char)*at); at++, digit /= 10) fraction += (*at - '0') * digit;
    uint64_t unit = take_unit(&at);
    if (tolower((unsigned char)*at) == 'b') at++;
    if (strcasecmp(at, "/s") == 0) at += 2;
    if (errno || *at || n > UINT64_MAX / 2 / unit) return -1;
    *bytes_s = n * unit + (uint64_t)(fraction * (double)unit);
    return 0;
}

int stn_rate_of_environment(uint64_t *bytes_s, struct sterna_error *err) {
    const char *text = getenv("STERNA_MAX_RATE");
    char shown[80];
    *bytes_s = 0;
    if (!text || !*text || parse(text, bytes_s) == 0) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL,
                    "STERNA_MAX_RATE is '%.40s': give bytes a second, such as 100MB or 1.5GiB",
                    stn_printable(text, shown, sizeof shown));
}
