/* cqlmem: a server of the CQL protocol, version 4, that keeps everything in memory. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "server.h"

static const char usage[] =
    "cqlmem [OPTION]...\n"
    "\n"
    "A stand-in for Cassandra in tests and measurements: CQL protocol version 4, tables in "
    "memory.\n"
    "Prints host:port of each node when it is ready. Ends at SIGTERM or SIGINT.\n"
    "\n"
    "  --listen ADDR[:PORT][@DC[/RACK]]  a node (default 127.0.0.1:0@dc1/rack1; PORT 0: any);\n"
    "                       again for more nodes of the cluster; IPv6 as [ADDR]:PORT\n"
    "  --vnodes N           tokens of a node (16)\n"
    "  --rf N               replication factor of the keyspace that --keyspace makes (1)\n"
    "  --keyspace NAME      make this keyspace at the start\n"
    "  --threads N          threads that serve connections (1)\n"
    "  --cc NAME            TCP congestion control\n"
    "  --user NAME --password TEXT   ask for these credentials\n"
    "  --synthetic BYTES    rows by uuid that do not exist are made up: BYTES in each blob, their\n"
    "                       CRC-32C in int columns ..crc, their length in columns ..bytes\n"
    "  --delay-ms N         answer so much later\n"
    "  --control            take commands from standard input, and end with it; N from 0:\n"
    "                         stop N   as if killed     start N    up again\n"
    "                         hang N   as by SIGSTOP    resume N   as by SIGCONT\n"
    "                       each is answered by the line \"ok\" when it has happened\n"
    "  --until-eof          end when standard input does\n"
    "  --stats              print counts at the end, as JSON on stderr\n"
    "\n"
    "One EXECUTE in N fails; those on the right only where a row goes from a uuid to a blob:\n"
    "  --overload-every N   ERROR overloaded      --rst-every N        connection reset in the "
    "blob\n"
    "  --drop-every N       no answer             --corrupt-every N    a bit of the blob differs\n"
    "  --unprepared-every N ERROR unprepared      --wrong-key-every N  a bit of the id differs\n"
    "  --late-every N       answered --late-ms M later (500), behind others\n";

struct options {
    struct server_options server;
    const char *keyspace;
    int until_eof, control, stats;
};

static uint64_t number(const char *name, const char *text) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (end == text || *end || errno) die("--%s %s: not a number", name, text);
    return v;
}

/* ---- nodes ---- */

static int take_address(struct node *n, char *host, uint16_t port) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&n->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&n->address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        n->address_bytes = sizeof *v4;
        return inet_ntop(AF_INET, &v4->sin_addr, n->host, sizeof n->host) ? 0 : -1;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1) return -1;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    n->address_bytes = sizeof *v6;
    return inet_ntop(AF_INET6, &v6->sin6_addr, n->host, sizeof n->host) ? 0 : -1;
}

/* Cuts `text` at the last `sign`; what is behind it, or NULL. */
static char *cut(char *text, char sign) {
    char *at = strrchr(text, sign);
    if (!at) return NULL;
    *at = 0;
    return at + 1;
}

static void add_node(struct store *s, const char *where) {
    char text[128], *host = text;
    if (s->n_nodes == NODES_MAX) die("at most %d nodes", NODES_MAX);
    struct node *n = &s->nodes[s->n_nodes++];
    snprintf(text, sizeof text, "%s", where);
    char *dc = cut(text, '@'), *rack = dc ? cut(dc, '/') : NULL;
    char *last = strrchr(text, ']');
    char *port = last ? (last[1] == ':' ? last + 2 : NULL) : cut(text, ':');
    if (text[0] == '[' && last) {
        *last = 0;
        host = text + 1;
    }
    uint64_t at = port ? number("listen", port) : 0;
    if (at > 65535 || take_address(n, host, (uint16_t)at) < 0)
        die("--listen %s: not ADDR[:PORT][@DC[/RACK]]", where);
    snprintf(n->dc, sizeof n->dc, "%s", dc ? dc : "dc1");
    snprintf(n->rack, sizeof n->rack, "%s", rack ? rack : "rack1");
    static const uint8_t space[16] = "cqlmem's hosts.";
    if (stn_uuid5(space, &s->n_nodes, sizeof s->n_nodes, n->host_id) < 0) die("no SHA-1");
}

static void print_nodes(const struct store *s) {
    for (size_t i = 0; i < s->n_nodes; i++) {
        const struct node *n = &s->nodes[i];
        int is_v6 = n->address.ss_family == AF_INET6;
        printf("%s%s%s:%u\n", is_v6 ? "[" : "", n->host, is_v6 ? "]" : "", n->port);
    }
    fflush(stdout);
}

/* ---- options ---- */

static void make_synthetic(struct store *s, uint64_t bytes) {
    if (bytes > (uint64_t)1 << 30) die("--synthetic: at most 1 GiB");
    s->synthetic = value_new(NULL, bytes);
    uint32_t word = 1;
    for (uint64_t i = 0; i < bytes; i++) {
        word = word * 1664525 + 1013904223;
        s->synthetic->data[i] = (uint8_t)(word >> 24);
    }
    stn_value_from_int((int32_t)stn_crc32c(0, s->synthetic->data, bytes), s->synthetic_crc);
}

enum {
    OPTION_LISTEN = 256,
    OPTION_VNODES,
    OPTION_RF,
    OPTION_KEYSPACE,
    OPTION_THREADS,
    OPTION_CC,
    OPTION_USER,
    OPTION_PASSWORD,
    OPTION_SYNTHETIC,
    OPTION_DELAY,
    OPTION_LATE,
    OPTION_EOF,
    OPTION_CONTROL,
    OPTION_STATS,
    OPTION_HELP,
    OPTION_FAULT
};

static const struct option longs[] = {{"listen", 1, 0, OPTION_LISTEN},
                                      {"vnodes", 1, 0, OPTION_VNODES},
                                      {"rf", 1, 0, OPTION_RF},
                                      {"keyspace", 1, 0, OPTION_KEYSPACE},
                                      {"threads", 1, 0, OPTION_THREADS},
                                      {"cc", 1, 0, OPTION_CC},
                                      {"user", 1, 0, OPTION_USER},
                                      {"password", 1, 0, OPTION_PASSWORD},
                                      {"synthetic", 1, 0, OPTION_SYNTHETIC},
                                      {"delay-ms", 1, 0, OPTION_DELAY},
                                      {"late-ms", 1, 0, OPTION_LATE},
                                      {"until-eof", 0, 0, OPTION_EOF},
                                      {"control", 0, 0, OPTION_CONTROL},
                                      {"stats", 0, 0, OPTION_STATS},
                                      {"help", 0, 0, OPTION_HELP},
                                      {"overload-every", 1, 0, OPTION_FAULT + FAULT_OVERLOAD},
                                      {"drop-every", 1, 0, OPTION_FAULT + FAULT_DROP},
                                      {"unprepared-every", 1, 0, OPTION_FAULT + FAULT_UNPREPARED},
                                      {"rst-every", 1, 0, OPTION_FAULT + FAULT_RST},
                                      {"corrupt-every", 1, 0, OPTION_FAULT + FAULT_CORRUPT},
                                      {"wrong-key-every", 1, 0, OPTION_FAULT + FAULT_WRONG_KEY},
                                      {"late-every", 1, 0, OPTION_FAULT + FAULT_LATE},
                                      {0}};

static void take_option(int option, const char *name, struct store *s, struct options *o) {
    switch (option) {
    case OPTION_LISTEN:
        add_node(s, optarg);
        break;
    case OPTION_VNODES:
        s->vnodes = (unsigned)number(name, optarg);
        break;
    case OPTION_RF:
        s->rf = (unsigned)number(name, optarg);
        break;
    case OPTION_KEYSPACE:
        o->keyspace = optarg;
        break;
    case OPTION_THREADS:
        o->server.threads = (unsigned)number(name, optarg);
        break;
    case OPTION_CC:
        o->server.congestion = optarg;
        break;
    case OPTION_USER:
        s->user = optarg;
        break;
    case OPTION_PASSWORD:
        s->password = optarg;
        break;
    case OPTION_SYNTHETIC:
        make_synthetic(s, number(name, optarg));
        break;
    case OPTION_DELAY:
        o->server.delay_ms = number(name, optarg);
        break;
    case OPTION_LATE:
        o->server.late_ms = number(name, optarg);
        break;
    case OPTION_EOF:
        o->until_eof = 1;
        break;
    case OPTION_CONTROL:
        o->control = 1;
        break;
    case OPTION_STATS:
        o->stats = 1;
        break;
    case OPTION_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        s->every[option - OPTION_FAULT] = number(name, optarg);
    }
}

static void take_options(int argc, char **argv, struct store *s, struct options *o) {
    int option, index = 0;
    *o = (struct options){.server = {.threads = 1, .late_ms = 500}};
    s->vnodes = 16;
    s->rf = 1;
    while ((option = getopt_long(argc, argv, "", longs, &index)) != -1) {
        if (option == '?') exit(2);
        take_option(option, longs[index].name, s, o);
    }
    if (optind < argc) die("%s: no such argument", argv[optind]);
    if (!s->n_nodes) add_node(s, "127.0.0.1");
    if (!s->vnodes || s->vnodes > 1024 || !s->rf) die("--vnodes 1..1024, --rf 1..");
    if (!o->server.threads || o->server.threads > 256) die("--threads 1..256");
    if (!s->user != !s->password) die("--user needs --password, and --password --user");
}

static void make_keyspace(struct store *s, const char *name) {
    char text[300];
    struct statement st;
    struct failure f;
    struct schema_change change;
    snprintf(text, sizeof text,
             "CREATE KEYSPACE \"%.48s\" WITH replication = {'class': 'SimpleStrategy', "
             "'replication_factor': '%u'}",
             name, s->rf);
    if (statement_parse(&st, text, strlen(text), &f) < 0 ||
        schema_define(&s->schema, &st, NULL, &change, &f) < 0)
        die("--keyspace: %s", f.message);
    statement_free(&st);
}

/* ---- until the end ---- */

static int ending[2]; /* a pipe that the signal handler writes to */

static void end(int signal) {
    (void)signal;
    if (write(ending[1], "", 1) < 0) return; /* full: it is told already */
}

static void command(struct server *server, size_t n_nodes, const char *line) {
    static const struct {
        const char *word;
        enum node_state state;
    } words[] = {{"stop", NODE_DOWN}, {"start", NODE_UP}, {"hang", NODE_HUNG}, {"resume", NODE_UP}};
    char word[16];
    size_t node;
    for (size_t i = 0; sscanf(line, "%15s %zu", word, &node) == 2 && i < STN_COUNT(words); i++) {
        if (strcmp(word, words[i].word) != 0 || node >= n_nodes) continue;
        server_set_node(server, node, words[i].state);
        puts("ok");
        fflush(stdout);
        return;
    }
    die("%s: no command", line);
}

/* Whole lines out of buf[0, n); bytes that are left. */
static size_t commands(struct server *server, size_t n_nodes, char *buf, size_t n) {
    char *line = buf, *end;
    while ((end = memchr(line, '\n', n - (size_t)(line - buf)))) {
        *end = '\0';
        command(server, n_nodes, line);
        line = end + 1;
    }
    n -= (size_t)(line - buf);
    memmove(buf, line, n);
    return n;
}

static void await_end(struct server *server, size_t n_nodes, const struct options *o) {
    struct pollfd fds[2] = {{ending[0], POLLIN, 0},
                            {o->until_eof || o->control ? 0 : -1, POLLIN, 0}};
    char buf[256];
    size_t n = 0;
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno == EINTR) continue;
        if (fds[0].revents) return;
        if (!fds[1].revents) continue;
        ssize_t got = read(0, buf + n, sizeof buf - n);
        if (got <= 0) return;
        n = o->control ? commands(server, n_nodes, buf, n + (size_t)got) : 0;
    }
}

int main(int argc, char **argv) {
    struct options o;
    struct store *s = must(calloc(1, sizeof *s));
    const struct sigaction action = {.sa_handler = end};
    pthread_mutex_init(&s->lock, NULL);
    take_options(argc, argv, s, &o);
    if (pipe(ending) < 0) die("pipe: %s", strerror(errno));
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (o.keyspace) make_keyspace(s, o.keyspace);
    server_listen(s, &o.server);
    struct server *server = server_start(s, &o.server);
    print_nodes(s);
    await_end(server, s->n_nodes, &o);
    server_stop(server);
    if (o.stats)
        fprintf(stderr, "{\"requests\": %llu, \"errors\": %llu, \"rows\": %llu}\n",
                (unsigned long long)s->requests, (unsigned long long)s->errors,
                (unsigned long long)s->rows);
    store_free(s);
    free(s);
    return 0;
}
