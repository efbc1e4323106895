#include "cassandra/json.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Numbers are written and read as in the C locale, whatever the program has set. */
static locale_t plain_locale;
static void make_locale(void) { plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }
static locale_t c_locale(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    return plain_locale;
}

/* ---- writing ---- */

void stn_json_put_bytes(struct stn_json_out *o, const void *data, size_t bytes) {
    if (o->failed || bytes == 0) return;
    if (stn_grow((void **)&o->text, &o->cap, o->bytes + bytes, 1) < 0) {
        o->failed = 1;
        return;
    }
    memcpy(o->text + o->bytes, data, bytes);
    o->bytes += bytes;
}

void stn_json_put(struct stn_json_out *o, const char *plain) {
    stn_json_put_bytes(o, plain, strlen(plain));
}

static void put_hex(struct stn_json_out *o, const char *text, size_t bytes) {
    static const char digits[] = "0123456789abcdef";
    stn_json_put(o, "{\"bytes\":\"");
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        const char two[2] = {digits[c >> 4], digits[c & 15]};
        stn_json_put_bytes(o, two, 2);
    }
    stn_json_put(o, "\"}");
}

static int needs_escape(char c) { return (unsigned char)c < 0x20 || c == '"' || c == '\\'; }

void stn_json_put_text(struct stn_json_out *o, const char *text, size_t bytes) {
    if (!stn_is_utf8(text, bytes) || (bytes && memchr(text, '\0', bytes))) {
        put_hex(o, text, bytes);
        return;
    }
    stn_json_put(o, "\"");
    for (size_t i = 0; i < bytes; i++) {
        char escape[8];
        size_t plain = 0;
        while (i + plain < bytes && !needs_escape(text[i + plain])) plain++;
        stn_json_put_bytes(o, text + i, plain);
        i += plain;
        if (i == bytes) break;
        if ((unsigned char)text[i] < 0x20)
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)text[i]);
        else
            snprintf(escape, sizeof escape, "\\%c", text[i]);
        stn_json_put(o, escape);
    }
    stn_json_put(o, "\"");
}

static void put_real(struct stn_json_out *o, double r) {
    char text[40];
    if (isnan(r)) { /* as SQLite has it */
        stn_json_put(o, "null");
        return;
    }
    if (r > 1.7976931348623157e308 || r < -1.7976931348623157e308) {
        stn_json_put(o, r > 0 ? "9e999" : "-9e999");
        return;
    }
    locale_t old = uselocale(c_locale());
    snprintf(text, sizeof text, "%.17g", r);
    uselocale(old);
    stn_json_put(o, text);
    if (!strpbrk(text, ".e")) stn_json_put(o, ".0");
}

void stn_json_put_value(struct stn_json_out *o, const struct sterna_value *v) {
    char text[32];
    switch (v->type) {
    case STERNA_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->i);
        stn_json_put(o, text);
        break;
    case STERNA_REAL:
        put_real(o, v->r);
        break;
    case STERNA_TEXT:
        stn_json_put_text(o, v->text ? v->text : "", v->text_bytes);
        break;
    case STERNA_NULL:
        stn_json_put(o, "null");
        break;
    }
}

void stn_json_out_fini(struct stn_json_out *o) {
    free(o->text);
    *o = (struct stn_json_out){0};
}

/* ---- reading ---- */

static void skip_space(struct stn_json_in *in) {
    while (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r') in->at++;
}

int stn_json_take(struct stn_json_in *in, char c) {
    skip_space(in);
    if (in->at >= in->end || *in->at != c) return 0;
    in->at++;
    return 1;
}

int stn_json_at_end(struct stn_json_in *in) {
    skip_space(in);
    return in->at >= in->end;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four digits at `at`; -1. */
static long get_unit(const char *at) {
    long unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]); /* the final NUL is none */
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static char *put_utf8(char *to, unsigned long c) {
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned lead[] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = (char)(lead[more] | c >> (6 * more));
    while (more-- > 0) *to++ = (char)(0x80 | (c >> (6 * more) & 0x3F));
    return to;
}

/* Behind a backslash, at *from: moves both on. 0: no such escape. */
static int get_escape(char **from, char **to) {
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *known = **from ? strchr(names, **from) : NULL;
    if (known) {
        *(*to)++ = means[known - names];
        ++*from;
        return 1;
    }
    if (**from != 'u') return 0;
    long unit = get_unit(*from + 1);
    if (unit <= 0) return 0;
    *from += 5;
    unsigned long c = (unsigned long)unit;
    if (c >= 0xD800 && c < 0xDC00) { /* the first of a pair */
        long low = (*from)[0] == '\\' && (*from)[1] == 'u' ? get_unit(*from + 2) : -1;
        if (low < 0xDC00 || low > 0xDFFF) return 0;
        c = 0x10000 + ((c - 0xD800) << 10) + ((unsigned long)low - 0xDC00);
        *from += 6;
    } else if (c >= 0xDC00 && c < 0xE000) {
        return 0;
    }
    *to = put_utf8(*to, c);
    return 1;
}

static int get_string(struct stn_json_in *in, char **text, size_t *bytes) {
    if (!stn_json_take(in, '"')) return 0;
    char *from = in->at, *to = in->at;
    while (from < in->end && *from != '"') {
        if ((unsigned char)*from < 0x20) return 0;
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        from++;
        if (!get_escape(&from, &to)) return 0;
    }
    if (from >= in->end) return 0;
    *text = in->at;
    *bytes = (size_t)(to - in->at);
    in->at = from + 1;
    *to = '\0'; /* where the closing quote was, at the latest */
    return 1;
}

static int decode_hex(char *text, size_t *bytes) {
    if (*bytes % 2) return 0;
    for (size_t i = 0; i < *bytes / 2; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return 0;
        text[i] = (char)(high << 4 | low);
    }
    *bytes /= 2;
    text[*bytes] = '\0';
    return 1;
}

int stn_json_get_text(struct stn_json_in *in, char **text, size_t *bytes) {
    if (!stn_json_take(in, '{')) return get_string(in, text, bytes);
    return get_string(in, text, bytes) && strcmp(*text, "bytes") == 0 && stn_json_take(in, ':') &&
           get_string(in, text, bytes) && decode_hex(*text, bytes) && stn_json_take(in, '}');
}

static int get_number(struct stn_json_in *in, struct sterna_value *v) {
    char *end, *real_end;
    errno = 0;
    v->type = STERNA_INT;
    v->i = strtoll(in->at, &end, 10);
    int fits = errno == 0;
    double r = strtod_l(in->at, &real_end, c_locale());
    if (real_end > end || !fits) {
        v->type = STERNA_REAL;
        v->r = r;
        end = real_end;
    }
    int any = end > in->at;
    in->at = end;
    return any;
}

static int take_word(struct stn_json_in *in, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(in->end - in->at) < n || memcmp(in->at, word, n) != 0) return 0;
    in->at += n;
    return 1;
}

int stn_json_get_value(struct stn_json_in *in, struct sterna_value *v) {
    char *text;
    *v = (struct sterna_value){.type = STERNA_NULL};
    skip_space(in);
    if (take_word(in, "null")) return 1;
    if (*in->at == '-' || (*in->at >= '0' && *in->at <= '9')) return get_number(in, v);
    if (!stn_json_get_text(in, &text, &v->text_bytes)) return 0;
    v->type = STERNA_TEXT;
    v->text = text;
    return 1;
}

static int skip(struct stn_json_in *in, unsigned depth) {
    struct sterna_value v;
    char *text;
    size_t bytes;
    if (depth == 0) return 0;
    int is_object = stn_json_take(in, '{');
    if (!is_object && !stn_json_take(in, '[')) {
        skip_space(in);
        return take_word(in, "true") || take_word(in, "false") || stn_json_get_value(in, &v);
    }
    char close = is_object ? '}' : ']';
    if (stn_json_take(in, close)) return 1;
    do {
        if (is_object && !(get_string(in, &text, &bytes) && stn_json_take(in, ':'))) return 0;
        if (!skip(in, depth - 1)) return 0;
    } while (stn_json_take(in, ','));
    return stn_json_take(in, close);
}

int stn_json_skip(struct stn_json_in *in) { return skip(in, 16); }
