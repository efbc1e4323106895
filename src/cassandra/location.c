/* The URL of a data set in a cluster, taken apart. What stands in it is checked here, so that a
 * mistake is found before a server is asked. Opens no file and no connection.
 *
 * A password in the URL is refused: URLs end up in shell histories, process lists and logs. It must
 * not get there by our message either, whatever is wrong with it (struct parser). */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cassandra/cassandra.h"

#define SCHEME "cassandra://"
#define DEFAULT_PORT 9042
#define LONGEST_SUFFIX "_chunk" /* of the tables' names */
#define SHOWN_BYTES 100         /* of a text in a message */

struct parser {
    struct stn_location *to;
    struct sterna_error *err;
    /* What looks like user:password, with a ? in the password: the text is shown in no message. */
    int hide;
    uint64_t seen; /* bits of options */
};

static const char *show(const struct parser *p, const char *text, char buf[SHOWN_BYTES]) {
    return p->hide ? "..." : stn_printable(text, buf, SHOWN_BYTES);
}

/* ---- pieces of text ---- */

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A copy of text[0..bytes) without percents. EINVAL for a bad %XX, and for what no name, path or
 * number has in it: control characters and bytes that are no UTF-8. */
static int decode(struct parser *p, const char *what, const char *text, size_t bytes, char **out) {
    char *to = *out = malloc(bytes + 1);
    if (!to) return stn_fail_memory(p->err, "a store's URL");
    for (size_t i = 0; i < bytes; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < bytes ? hex(text[i + 1]) : -1,
                low = high < 0 ? -1 : hex(text[i + 2]);
            if (low < 0)
                return stn_fail(p->err, STERNA_EINVAL,
                                "%s: a %% in a store's URL is followed by two hexadecimal digits "
                                "(%%25 is %% itself)",
                                what);
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7F)
            return stn_fail(p->err, STERNA_EINVAL, "%s: control character 0x%02x in a store's URL",
                            what, (unsigned)c);
        *to++ = (char)c;
    }
    *to = 0;
    if (!stn_is_utf8(*out, (size_t)(to - *out)))
        return stn_fail(p->err, STERNA_EINVAL, "%s: bytes that are no UTF-8 in a store's URL",
                        what);
    return STERNA_OK;
}

static size_t word_bytes(const char *text) {
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_') n++;
    return n;
}

static int parse_number(const char *text, unsigned min, unsigned max, unsigned *out) {
    char *end;
    if (!isdigit((unsigned char)text[0]) || strlen(text) > 10) return 0;
    unsigned long long n = strtoull(text, &end, 10);
    *out = (unsigned)n;
    return *end == 0 && n >= min && n <= max;
}

/* ---- hosts ---- */

/* "name", "name:port", "[ip6]:port": cuts `text` behind the name; *port is what follows it, or
 * NULL. 0 for brackets that do not fit. */
static int cut_port(char *text, char **name, char **port) {
    char *end;
    *name = text;
    *port = NULL;
    if (text[0] == '[') {
        *name = text + 1;
        end = strchr(text, ']');
        if (!end || (end[1] != 0 && end[1] != ':')) return 0;
        *end++ = 0;
    } else {
        end = text + strcspn(text, ":");
    }
    if (*end == ':') {
        *end = 0;
        *port = end + 1;
    }
    return 1;
}

static int is_ip6(const char *name) { /* perhaps with %interface */
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ip;
    size_t n = strcspn(name, "%");
    if (n >= sizeof text || (name[n] && !name[n + 1])) return 0;
    memcpy(text, name, n);
    text[n] = 0;
    return inet_pton(AF_INET6, text, &ip) == 1;
}

static int is_host_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n < 254 && name[n] == 0 && name[0] != '-';
}

/* Takes `text`. A port is never shown: it may be the beginning of a password. */
static int add_host(struct parser *p, char *text) {
    struct stn_location *l = p->to;
    char *name, *port, buf[SHOWN_BYTES];
    unsigned number = DEFAULT_PORT;
    int bracket = text[0] == '[', fits = cut_port(text, &name, &port), rc = STERNA_EINVAL;
    if (!fits || (bracket && !is_ip6(name)))
        stn_fail(p->err, rc, "host '%s': an IPv6 address is written [address] or [address]:port",
                 show(p, name, buf));
    else if (!bracket && port && strchr(port, ':'))
        stn_fail(p->err, rc, "host '%s:...': an IPv6 address is written in [ ]",
                 show(p, name, buf));
    else if (!name[0])
        stn_fail(p->err, rc,
                 "a host is missing; the URL of a store is " SCHEME
                 "[user@]host[:port][,host..]/KEYSPACE/DATASET");
    else if (!bracket && !is_host_name(name))
        stn_fail(p->err, rc, "'%s' is no name of a host", show(p, name, buf));
    else if (port && !parse_number(port, 1, UINT16_MAX, &number))
        stn_fail(p->err, rc, "the port of host '%s' is no number from 1 to 65535",
                 show(p, name, buf));
    else
        rc = STERNA_OK;
    char *kept = rc == STERNA_OK ? strdup(name) : NULL;
    free(text);
    if (rc < 0) return rc;
    if (!kept) return stn_fail_memory(p->err, "a store's URL");
    struct stn_host *hosts = realloc(l->hosts, (l->n_hosts + 1) * sizeof *hosts);
    if (!hosts) {
        free(kept);
        return stn_fail_memory(p->err, "a store's URL");
    }
    l->hosts = hosts;
    hosts[l->n_hosts++] = (struct stn_host){kept, (uint16_t)number};
    return STERNA_OK;
}

static int parse_hosts(struct parser *p, const char *text, size_t bytes) {
    for (const char *end = text + bytes;;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        size_t n = (size_t)((comma ? comma : end) - text);
        char *host;
        int rc = decode(p, "host", text, n, &host);
        if (rc == STERNA_OK)
            rc = add_host(p, host);
        else
            free(host);
        if (rc < 0 || !comma) return rc;
        text = comma + 1;
    }
}

/* "user@" before the hosts. Nothing of it is shown. */
static int parse_user(struct parser *p, const char *text, size_t bytes) {
    if (memchr(text, ':', bytes))
        return stn_fail(p->err, STERNA_EINVAL,
                        "a password in a store's URL is refused, as others can read it there; give "
                        "it by password_file=FILE in the URL or by STERNA_PASSWORD in the "
                        "environment (a : or @ in a user's name is written %%3A, %%40)");
    if (memchr(text, '/', bytes) || memchr(text, '@', bytes) || bytes == 0)
        return stn_fail(p->err, STERNA_EINVAL,
                        "what stands before the last @ of a store's URL is no user's name (/ and @ "
                        "in one are written %%2F, %%40)");
    return decode(p, "user", text, bytes, &p->to->user);
}

/* ---- keyspace and data set ---- */

/* Cassandra's: letters, digits and _. */
static int check_name(struct parser *p, const char *what, const char *name, size_t max) {
    char buf[SHOWN_BYTES];
    size_t n = strlen(name);
    if (n == 0 || word_bytes(name) != n)
        return stn_fail(p->err, STERNA_EINVAL, "%s '%s': a name is made of letters, digits and _",
                        what, show(p, name, buf));
    if (n > max)
        return stn_fail(p->err, STERNA_EINVAL, "%s '%s' has %zu characters; it can have %zu", what,
                        show(p, name, buf), n, max);
    return STERNA_OK;
}

static int parse_path(struct parser *p, const char *text, const char *end) {
    const char *slash = text < end ? memchr(text + 1, '/', (size_t)(end - text - 1)) : NULL;
    if (!slash)
        return stn_fail(p->err, STERNA_EINVAL,
                        "the URL of a store ends with /KEYSPACE/DATASET (and options behind a ?)");
    struct stn_location *l = p->to;
    int rc = decode(p, "keyspace", text + 1, (size_t)(slash - text - 1), &l->keyspace);
    if (rc == STERNA_OK)
        rc = decode(p, "data set", slash + 1, (size_t)(end - slash - 1), &l->dataset);
    if (rc == STERNA_OK) rc = check_name(p, "keyspace", l->keyspace, STN_CQL_NAME_MAX);
    if (rc == STERNA_OK)
        rc = check_name(p, "data set", l->dataset, STN_CQL_NAME_MAX - strlen(LONGEST_SUFFIX));
    return rc;
}

/* ---- options ---- */

/* Each option is a text first; what shall be more than a text is understood when all are there. */
struct texts {
    char *tls, *consistency, *connections, *outage_timeout, *translate, *refresh;
};

#define OF_LOCATION(name, member)                                                                  \
    { name, offsetof(struct stn_location, member), 0 }
#define OF_TEXTS(name)                                                                             \
    { #name, offsetof(struct texts, name), 1 }

static const struct option {
    const char *name;
    size_t offset;
    int in_texts;
} options[] = {
    OF_LOCATION("dc", dc),
    OF_TEXTS(tls),
    OF_LOCATION("ca", ca),
    OF_LOCATION("cert", cert),
    OF_LOCATION("key", key),
    OF_TEXTS(consistency),
    OF_TEXTS(connections),
    OF_LOCATION("password_file", password_file),
    OF_TEXTS(outage_timeout),
    OF_TEXTS(translate),
    OF_LOCATION("table", map.table),
    OF_LOCATION("id", map.id),
    OF_LOCATION("image", map.image),
    OF_LOCATION("image_crc", map.image_crc),
    OF_LOCATION("mask", map.mask),
    OF_LOCATION("mask_crc", map.mask_crc),
    OF_LOCATION("label", map.label),
    OF_LOCATION("meta", map.meta),
    OF_TEXTS(refresh),
};

/* Levenshtein's, of two short words; b is in small letters. */
static size_t distance(const char *a, const char *b) {
    size_t row[32], n = strlen(b);
    if (n >= STN_COUNT(row)) return SIZE_MAX;
    for (size_t k = 0; k <= n; k++) row[k] = k;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < n; k++) {
            size_t up = row[k + 1];
            size_t best = diagonal + (tolower((unsigned char)a[i]) != b[k]);
            row[k + 1] = STN_MIN(best, STN_MIN(up, row[k]) + 1);
            diagonal = up;
        }
    }
    return row[n];
}

static const char *nearest_option(const char *name) {
    const char *nearest = NULL;
    size_t n = strlen(name), best = n / 3 + 2; /* farther than that is no slip */
    for (size_t i = 0; i < STN_COUNT(options); i++) {
        size_t d =
            n >= 2 && strncmp(options[i].name, name, n) == 0 ? 1 : distance(name, options[i].name);
        if (d < best) {
            best = d;
            nearest = options[i].name;
        }
    }
    return nearest;
}

static int unknown_option(struct parser *p, const char *name) {
    char buf[SHOWN_BYTES];
    if (strlen(name) > 31) /* no slip, perhaps a value with an & in it */
        return stn_fail(p->err, STERNA_EINVAL,
                        "a store's URL has an unknown option of %zu characters (an & in a value is "
                        "written %%26)",
                        strlen(name));
    if (strcasecmp(name, "password") == 0)
        return stn_fail(p->err, STERNA_EINVAL,
                        "a password in a store's URL is refused, as others can read it there; give "
                        "it by password_file=FILE in the URL or by STERNA_PASSWORD in the "
                        "environment");
    const char *near = nearest_option(name);
    return stn_fail(p->err, STERNA_EINVAL, "a store's URL has no option '%s'%s%s",
                    show(p, name, buf), near ? "; did you mean " : "", near ? near : "");
}

/* name=value, the name as it is in the table. */
static int take_option(struct parser *p, struct texts *texts, const char *name, const char *value,
                       size_t value_bytes) {
    size_t i = 0;
    while (i < STN_COUNT(options) && strcmp(options[i].name, name) != 0) i++;
    if (i == STN_COUNT(options)) return unknown_option(p, name);
    if (p->seen >> i & 1)
        return stn_fail(p->err, STERNA_EINVAL, "option %s stands twice in a store's URL", name);
    p->seen |= UINT64_C(1) << i;
    if (value_bytes == 0)
        return stn_fail(p->err, STERNA_EINVAL, "option %s= of a store's URL is empty", name);
    char *base = options[i].in_texts ? (char *)texts : (char *)p->to;
    return decode(p, name, value, value_bytes, (char **)(void *)(base + options[i].offset));
}

static int parse_options(struct parser *p, struct texts *texts, const char *text) {
    int rc = STERNA_OK;
    while (rc == STERNA_OK && *text) {
        size_t n = strcspn(text, "&"), name_bytes = strcspn(text, "=&");
        if (n > 0) {
            char *name;
            rc = decode(p, "option", text, name_bytes, &name);
            size_t value = STN_MIN(name_bytes + 1, n);
            if (rc == STERNA_OK) rc = take_option(p, texts, name, text + value, n - value);
            free(name);
        }
        text += n + (text[n] == '&');
    }
    return rc;
}

/* ---- what options mean ---- */

static int set_tls(struct parser *p, const char *text) {
    struct stn_location *l = p->to;
    char buf[SHOWN_BYTES];
    const char *with = l->ca ? "ca" : l->cert ? "cert" : l->key ? "key" : NULL;
    if (text && strcmp(text, "verify") != 0 && strcmp(text, "off") != 0)
        return stn_fail(p->err, STERNA_EINVAL, "tls=%s: it is verify or off", show(p, text, buf));
    l->tls = !text ? (with ? 1 : 0) : strcmp(text, "verify") == 0 ? 1 : -1;
    if (with && l->tls < 0)
        return stn_fail(p->err, STERNA_EINVAL, "tls=off and %s= contradict each other", with);
    if (!l->cert != !l->key)
        return stn_fail(p->err, STERNA_EINVAL,
                        "a client's certificate is a pair of files: %s= is there, %s= is missing",
                        l->cert ? "cert" : "key", l->cert ? "key" : "cert");
    return STERNA_OK;
}

static int set_consistency(struct parser *p, const char *text) {
    static const struct {
        const char *name;
        uint16_t read, write;
    } rows[] = {
        {"LOCAL_ONE", STN_CQL_LOCAL_ONE, STN_CQL_LOCAL_QUORUM},
        {"ONE", STN_CQL_ONE, STN_CQL_LOCAL_QUORUM},
        {"LOCAL_QUORUM", STN_CQL_LOCAL_QUORUM, STN_CQL_LOCAL_QUORUM},
        {"QUORUM", STN_CQL_QUORUM, STN_CQL_QUORUM},
        {"EACH_QUORUM", STN_CQL_LOCAL_QUORUM, STN_CQL_EACH_QUORUM},
        {"ALL", STN_CQL_ALL, STN_CQL_ALL},
    };
    char buf[SHOWN_BYTES];
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        if (strcasecmp(text ? text : "LOCAL_ONE", rows[i].name) != 0) continue;
        p->to->read_consistency = rows[i].read;
        p->to->write_consistency = rows[i].write;
        return STERNA_OK;
    }
    return stn_fail(p->err, STERNA_EINVAL,
                    "consistency=%s: it is one of LOCAL_ONE, ONE, LOCAL_QUORUM, QUORUM, "
                    "EACH_QUORUM, ALL",
                    show(p, text, buf));
}

static int set_numbers(struct parser *p, const struct texts *t) {
    struct stn_location *l = p->to;
    char buf[SHOWN_BYTES];
    unsigned seconds;
    if (t->connections && !parse_number(t->connections, 1, 1024, &l->connections))
        return stn_fail(p->err, STERNA_EINVAL, "connections=%s: it is a number from 1 to 1024",
                        show(p, t->connections, buf));
    unsigned refresh = 0;
    if (t->refresh && !parse_number(t->refresh, 0, 1, &refresh))
        return stn_fail(p->err, STERNA_EINVAL, "refresh=%s: it is 1, or 0",
                        show(p, t->refresh, buf));
    if (t->refresh && !l->map.table)
        return stn_fail(p->err, STERNA_EINVAL,
                        "option refresh= of a store's URL needs table= "
                        "beside it: other stores are always up to date");
    l->refresh = (int)refresh;
    if (!t->outage_timeout) return STERNA_OK;
    if (!parse_number(t->outage_timeout, 0, 1000000, &seconds))
        return stn_fail(p->err, STERNA_EINVAL,
                        "outage_timeout=%s: it is a number of seconds, 0 to 1000000",
                        show(p, t->outage_timeout, buf));
    l->outage_timeout_ms = seconds ? seconds * 1000 : 1; /* as 0 leaves it to the session */
    return STERNA_OK;
}

/* "ip", "ip:port", "[ip6]:port". */
static int parse_address(struct parser *p, char *text, struct stn_address *out) {
    char *name, *port, buf[SHOWN_BYTES];
    uint8_t ip[16];
    unsigned number = DEFAULT_PORT;
    int bracket = text[0] == '[';
    if (!cut_port(text, &name, &port) || inet_pton(bracket ? AF_INET6 : AF_INET, name, ip) != 1 ||
        (port && !parse_number(port, 1, UINT16_MAX, &number)))
        return stn_fail(p->err, STERNA_EINVAL,
                        "translate=: '%s' is no address (ip, ip:port or [ip6]:port)",
                        show(p, name, buf));
    return stn_address_from_ip(out, ip, bracket ? 16 : 4, (uint16_t)number);
}

static int set_translations(struct parser *p, char *text) {
    struct stn_location *l = p->to;
    char *save = NULL;
    for (char *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        char *to = strchr(part, '>');
        if (!to)
            return stn_fail(p->err, STERNA_EINVAL,
                            "translate=: FROM>TO are two addresses, and more pairs follow behind "
                            "commas");
        *to++ = 0;
        struct stn_translation *grown =
            realloc(l->translations, (l->n_translations + 1) * sizeof *grown);
        if (!grown) return stn_fail_memory(p->err, "a store's URL");
        l->translations = grown;
        struct stn_translation *t = &grown[l->n_translations++];
        int rc = parse_address(p, part, &t->from);
        if (rc == STERNA_OK) rc = parse_address(p, to, &t->to);
        if (rc < 0) return rc;
    }
    return STERNA_OK;
}

/* "[keyspace.]name" */
static int check_table(struct parser *p, const char *option, const char *name) {
    char buf[SHOWN_BYTES];
    if (!name) return STERNA_OK;
    size_t n = word_bytes(name), m = name[n] == '.' ? word_bytes(name + n + 1) : 0;
    size_t all = name[n] == '.' ? n + 1 + m : n;
    if (name[all] || n == 0 || (name[n] && m == 0) || n > STN_CQL_NAME_MAX || m > STN_CQL_NAME_MAX)
        return stn_fail(p->err, STERNA_EINVAL, "%s=%s: it is a table's name, or keyspace.name",
                        option, show(p, name, buf));
    return STERNA_OK;
}

static int check_column(struct parser *p, const char *option, const char *name) {
    char buf[SHOWN_BYTES];
    if (name &&
        (strlen(name) >= sizeof((struct stn_cassandra *)NULL)->id_column || strchr(name, '"')))
        return stn_fail(p->err, STERNA_EINVAL, "%s=%s: it is a column's name of at most 63 bytes",
                        option, show(p, name, buf));
    return STERNA_OK;
}

static int check_map(struct parser *p) {
    const struct stn_location *l = p->to;
    const struct {
        const char *name, *value, *needs, *needed;
    } rows[] = {
        {"id", l->map.id, "table", l->map.table},
        {"image", l->map.image, "table", l->map.table},
        {"mask", l->map.mask, "table", l->map.table},
        {"label", l->map.label, "table", l->map.table},
        {"meta", l->map.meta, "table", l->map.table},
        {"image_crc", l->map.image_crc, "image", l->map.image},
        {"mask_crc", l->map.mask_crc, "mask", l->map.mask},
        {"table", l->map.table, "id", l->map.id},
        {"table", l->map.table, "image", l->map.image ? l->map.image : l->map.mask},
    };
    int rc = check_table(p, "table", l->map.table);
    if (rc == STERNA_OK) rc = check_table(p, "meta", l->map.meta);
    for (size_t i = 0; rc == STERNA_OK && i < STN_COUNT(rows); i++) {
        if (rows[i].value && !rows[i].needed)
            rc = stn_fail(p->err, STERNA_EINVAL, "option %s= of a store's URL needs %s= beside it",
                          rows[i].name, rows[i].needs);
        else if (rows[i].value != l->map.table && rows[i].value != l->map.meta)
            rc = check_column(p, rows[i].name, rows[i].value);
    }
    return rc;
}

static int understand(struct parser *p, struct texts *t) {
    struct stn_location *l = p->to;
    if (l->password_file && !l->user)
        return stn_fail(p->err, STERNA_EINVAL,
                        "password_file= needs a user: " SCHEME "user@host/...");
    int rc = set_tls(p, t->tls);
    if (rc == STERNA_OK) rc = set_consistency(p, t->consistency);
    if (rc == STERNA_OK) rc = set_numbers(p, t);
    if (rc == STERNA_OK && t->translate) rc = set_translations(p, t->translate);
    if (rc == STERNA_OK) rc = check_map(p);
    return rc;
}

/* ---- the whole ---- */

/* A user's name again with percents: what can stand in a URL, on one line, without doubt. */
static void put_encoded(FILE *to, const char *text) {
    for (const unsigned char *s = (const unsigned char *)text; *s; s++)
        fprintf(to, isalnum(*s) || strchr("._-~", *s) ? "%c" : "%%%02X", *s);
}

static int make_shown(struct parser *p) {
    struct stn_location *l = p->to;
    size_t bytes;
    FILE *to = open_memstream(&l->shown, &bytes);
    if (!to) return stn_fail_memory(p->err, "a store's URL");
    fputs(SCHEME, to);
    if (l->user) {
        put_encoded(to, l->user);
        putc('@', to);
    }
    for (size_t i = 0; i < l->n_hosts; i++) {
        const char *name = l->hosts[i].name, *zone = strchr(name, '%');
        int n = zone ? (int)(zone - name) : (int)strlen(name);
        fprintf(to, strchr(name, ':') ? "%s[%.*s" : "%s%.*s", i ? "," : "", n, name);
        if (zone) put_encoded(to, zone);
        if (strchr(name, ':')) putc(']', to);
        if (l->hosts[i].port != DEFAULT_PORT) fprintf(to, ":%u", (unsigned)l->hosts[i].port);
    }
    fprintf(to, "/%s/%s", l->keyspace, l->dataset);
    int failed = ferror(to);
    if (fclose(to) != 0 || failed || !l->shown) return stn_fail_memory(p->err, "a store's URL");
    return STERNA_OK;
}

static int parse(struct parser *p, struct texts *texts, const char *url) {
    size_t n = strlen(SCHEME);
    if (strncmp(url, SCHEME, n) != 0)
        return stn_fail(p->err, STERNA_EINVAL, "the URL of a store begins with " SCHEME);
    const char *begin = url + n, *end = begin + strcspn(begin, "?");
    const char *at = memrchr(begin, '@', (size_t)(end - begin));
    const char *hosts = at ? at + 1 : begin;
    const char *path = hosts + strcspn(hosts, "/?");
    p->hide = strchr(end, '@') && memchr(hosts, ':', (size_t)(path - hosts));
    int rc = at ? parse_user(p, begin, (size_t)(at - begin)) : STERNA_OK;
    if (rc == STERNA_OK) rc = parse_path(p, path, end);
    if (rc == STERNA_OK) rc = parse_hosts(p, hosts, (size_t)(path - hosts));
    if (rc == STERNA_OK && *end) rc = parse_options(p, texts, end + 1);
    if (rc == STERNA_OK) rc = understand(p, texts);
    if (rc == STERNA_OK) rc = make_shown(p);
    return rc;
}

int stn_location_parse(struct stn_location *out, const char *url, struct sterna_error *err) {
    struct parser p = {.to = out, .err = err};
    struct texts texts = {0};
    *out = (struct stn_location){0};
    int rc = parse(&p, &texts, url);
    free(texts.tls);
    free(texts.consistency);
    free(texts.connections);
    free(texts.outage_timeout);
    free(texts.translate);
    free(texts.refresh);
    if (rc < 0) stn_location_fini(out);
    return rc;
}

void stn_location_fini(struct stn_location *l) {
    for (size_t i = 0; i < l->n_hosts; i++) free((void *)(uintptr_t)l->hosts[i].name);
    free(l->hosts);
    free(l->user);
    free(l->keyspace);
    free(l->dataset);
    free(l->translations);
    free(l->shown);
    for (size_t i = 0; i < STN_COUNT(options); i++)
        if (!options[i].in_texts) free(*(char **)(void *)((char *)l + options[i].offset));
    *l = (struct stn_location){0};
}
