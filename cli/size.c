/* Parsing and printing of numbers, sizes and times. Knows nothing of options. */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_parse_uint(const char *text, uint64_t *out) {
    char *end;
    if (!isdigit((unsigned char)text[0])) return -1;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end != 0) return -1;
    *out = n;
    return 0;
}

/* What the unit multiplies by, or 0 if there is no such unit. */
static uint64_t unit_of(const char *text) {
    static const char letters[] = "kmgtp";
    uint64_t unit = 1;
    const char *letter =
        text[0] ? strchr(letters, tolower((unsigned char)text[0])) : NULL; /* strchr finds NULs */
    if (letter) {
        int binary = tolower((unsigned char)text[1]) == 'i';
        for (const char *l = letters; l <= letter; l++) unit *= binary ? 1024 : 1000;
        text += 1 + binary;
    }
    if (tolower((unsigned char)text[0]) == 'b') text++;
    return text[0] == 0 ? unit : 0;
}

int cli_parse_size(const char *text, uint64_t *out) {
    char *end;
    if (!isdigit((unsigned char)text[0])) return -1;
    errno = 0;
    uint64_t whole = strtoull(text, &end, 10);
    if (errno != 0) return -1;
    long double fraction = 0, scale = 1;
    if (*end == '.') {
        if (!isdigit((unsigned char)end[1])) return -1;
        for (end++; isdigit((unsigned char)*end); end++)
            fraction += (long double)(*end - '0') / (scale *= 10);
    }
    uint64_t unit = unit_of(end);
    if (unit == 0 || whole > UINT64_MAX / unit) return -1;
    uint64_t part = (uint64_t)(fraction * (long double)unit);
    if (whole * unit > UINT64_MAX - part) return -1;
    *out = whole * unit + part;
    return 0;
}

int cli_parse_real(const char *text, double *out) {
    char *end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '.') return -1;
    if (strpbrk(text, "xXnN")) return -1; /* strtod knows hex, inf and nan */
    double r = strtod(text, &end);
    if (*end != 0 || end == text || !isfinite(r)) return -1;
    *out = r;
    return 0;
}

int cli_parse_hex(const char *text, uint8_t *out, size_t n) {
    if (strlen(text) != 2 * n) return -1;
    for (size_t i = 0; i < 2 * n; i++)
        if (!isxdigit((unsigned char)text[i])) return -1;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return 0;
}

void cli_hex_text(const uint8_t *bytes, size_t n, char *text) {
    for (size_t i = 0; i < n; i++) snprintf(text + 2 * i, 3, "%02x", (unsigned)bytes[i]);
}

const char *cli_size_text(double bytes, char *text) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t u = 0;
    while (bytes >= 999.5 && u + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1000;
        u++;
    }
    int digits = u == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
    snprintf(text, CLI_NUMBER_TEXT, "%.*f %s", digits, bytes, units[u]);
    return text;
}

const char *cli_count_text(uint64_t n, char *text) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), used = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = 0;
    return text;
}

const char *cli_time_text(double seconds, char *text) {
    if (!(seconds < 1e9)) seconds = 1e9 - 1;
    unsigned long long s = (unsigned long long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, CLI_NUMBER_TEXT, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, CLI_NUMBER_TEXT, "%llu:%02llu", s / 60, s % 60);
    return text;
}

const char *cli_real_text(double r, char *text) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, CLI_NUMBER_TEXT, "%.*g", digits, r);
        if (strtod(text, NULL) == r) break;
    }
    if (isfinite(r) && !strpbrk(text, ".e")) strcat(text, ".0"); /* stays a real when read back */
    return text;
}
