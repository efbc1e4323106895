#include "cql_setup.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 64 << 10, SETUP_STREAM = 7 };

static void receive_exactly(int fd, uint8_t *to, size_t bytes) {
    while (bytes > 0) {
        ssize_t got = recv(fd, to, bytes, 0);
        if (got <= 0) die("the server closed the connection");
        to += got;
        bytes -= (size_t)got;
    }
}

/* Sends what w has, and gives the answer's body; an ERROR dies, unless it is `allowed`. */
static struct stn_cursor call(int fd, struct stn_writer *w, uint32_t allowed, uint8_t *answer) {
    struct stn_cql_header h;
    struct stn_cql_failure failure;
    uint8_t head[STN_CQL_HEADER_BYTES];
    if (w->used > w->cap) die("a statement is too long");
    if (send(fd, w->to, w->used, MSG_NOSIGNAL) != (ssize_t)w->used)
        die("send: %s", strerror(errno));
    receive_exactly(fd, head, sizeof head);
    stn_cql_header_parse(head, &h);
    if (h.body_bytes > ANSWER_BYTES_MAX) die("an answer of %u bytes", h.body_bytes);
    receive_exactly(fd, answer, h.body_bytes);
    struct stn_cursor body = stn_cursor(answer, h.body_bytes), error = body;
    if (h.opcode == STN_CQL_ERROR && stn_cql_failure_parse(&error, &failure) == STERNA_OK &&
        failure.code != allowed)
        die("server: %.*s", (int)failure.message.bytes, failure.message.data);
    return body;
}

static struct addrinfo *resolve(const char *host_port) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char host[256];
    snprintf(host, sizeof host, "%s", host_port);
    char *port = strrchr(host, ':');
    if (!port) die("%s: not HOST:PORT", host_port);
    *port++ = '\0';
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc) die("%s: %s", host_port, gai_strerror(rc));
    return found;
}

int cql_connect(const char *host_port) {
    static const struct stn_cql_pair version = {"CQL_VERSION", "3.0.0"};
    const int one = 1;
    uint8_t frame[256], *answer = must(malloc(ANSWER_BYTES_MAX));
    struct addrinfo *to = resolve(host_port);
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen) < 0)
        die("%s: %s", host_port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct stn_writer w = {frame, sizeof frame, 0};
    stn_cql_put_startup(&w, SETUP_STREAM, &version, 1);
    call(fd, &w, 0, answer);
    freeaddrinfo(to);
    free(answer);
    return fd;
}

void cql_make_table(int fd) {
    static const char *const texts[] = {
        "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = "
        "{'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE IF NOT EXISTS bench.sample (id uuid PRIMARY KEY, crc int, data blob)"};
    const struct stn_cql_query plain = {.consistency = STN_CQL_ONE};
    uint8_t frame[512], *answer = must(malloc(ANSWER_BYTES_MAX));
    for (size_t i = 0; i < STN_COUNT(texts); i++) {
        struct stn_writer w = {frame, sizeof frame, 0};
        stn_cql_put_query(&w, SETUP_STREAM, texts[i], &plain);
        call(fd, &w, STN_CQL_E_ALREADY_EXISTS, answer);
    }
    free(answer);
}

size_t cql_make_execute(int fd, const char *select, uint8_t *frame, size_t cap) {
    static const uint8_t no_id[STERNA_ID_BYTES];
    const struct stn_cql_value key = stn_value_of(no_id, sizeof no_id);
    const struct stn_cql_query query = {
        .consistency = STN_CQL_LOCAL_ONE, .skip_metadata = 1, .values = &key, .n_values = 1};
    uint8_t *answer = must(malloc(ANSWER_BYTES_MAX));
    struct stn_cql_result_head result;
    struct stn_writer w = {frame, cap, 0};
    stn_cql_put_prepare(&w, SETUP_STREAM, select);
    struct stn_cursor body = call(fd, &w, 0, answer);
    if (stn_cql_result_parse(&body, &result) < 0 || result.kind != STN_CQL_PREPARED)
        die("the statement was not prepared");
    w = (struct stn_writer){frame, cap, 0};
    stn_cql_put_execute(&w, SETUP_STREAM, result.id.data, result.id.bytes, &query);
    if (w.used > cap) die("an EXECUTE of %zu bytes", w.used);
    free(answer);
    return w.used;
}

void cql_set_execute(uint8_t *frame, size_t bytes, int16_t stream,
                     const uint8_t id[STERNA_ID_BYTES]) {
    stn_cql_set_stream(frame, stream);
    memcpy(frame + bytes - STERNA_ID_BYTES, id, STERNA_ID_BYTES); /* the last thing in it */
}
