/* Numbers as people write and read them: strict parsing, sizes with units, thousands. */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Digits only: no sign, space, or text behind. 0, or -1 if it is no such number or too large. */
int cli_parse_uint(const char *text, uint64_t *out);

/* Bytes: digits, perhaps a fraction, perhaps k M G T P (powers of 1000) or Ki Mi Gi Ti Pi (of
 * 1024), perhaps B: 4G, 4GiB, 512k, 1.5GiB. Case does not matter. 0 or -1. */
int cli_parse_size(const char *text, uint64_t *out);

/* A finite number >= 0 such as 0.8 or 30; 0 or -1. */
int cli_parse_real(const char *text, double *out);

/* 2 * n hex digits into n bytes; 0 or -1. */
int cli_parse_hex(const char *text, uint8_t *out, size_t n);
void cli_hex_text(const uint8_t *bytes, size_t n, char *text); /* 2 * n + 1 characters */

#define CLI_NUMBER_TEXT 40

/* All write into text[CLI_NUMBER_TEXT] and return it. */
const char *cli_size_text(double bytes, char *text);   /* "1.23 GB" */
const char *cli_count_text(uint64_t n, char *text);    /* "48,211" */
const char *cli_time_text(double seconds, char *text); /* "1:02:03", "0:07" */
const char *cli_real_text(double r, char *text);       /* shortest that reads back the same */

#endif
