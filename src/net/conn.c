/* A connection's life: connecting, what is due when, its end. */
#include "net/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/conn_record.h"

#define BODY_BYTES_MAX (UINT32_C(256) << 20) /* no server's frames are longer */
#define ORPHAN_AGE_NS (5 * STN_NS_PER_S)
enum { PROGRESS_ROUND_TRIPS = 8 };

/* ---- its end ---- */

static int end_by(struct stn_conn *conn, int code, int sys_errno, const char *format,
                  va_list args) {
    char text[STERNA_MESSAGE_BYTES];
    if (conn->state == STN_CONN_OVER) return code;
    vsnprintf(text, sizeof text, format, args);
    errno = sys_errno;
    if (sys_errno)
        stn_fail_sys(&conn->end, code, "%s: %s", conn->name, text);
    else
        stn_fail(&conn->end, code, "%s: %s", conn->name, text);
    conn->state = STN_CONN_OVER;
    stn_poll_again(conn->poll, &conn->fd);
    return code;
}

int stn_conn_end(struct stn_conn *conn, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    end_by(conn, code, 0, format, args);
    va_end(args);
    return code;
}

int stn_conn_end_sys(struct stn_conn *conn, int code, const char *format, ...) {
    int sys_errno = errno;
    va_list args;
    va_start(args, format);
    end_by(conn, code, sys_errno, format, args);
    va_end(args);
    return code;
}

static void close_socket(struct stn_conn *conn) {
    stn_tls_session_close(&conn->tls);
    if (conn->fd.fd < 0) return;
    stn_poll_remove(conn->poll, &conn->fd);
    close(conn->fd.fd);
    conn->fd.fd = -1;
}

static void free_conn(struct stn_conn *conn) {
    close_socket(conn);
    stn_receiver_fini(&conn->receiver);
    stn_streams_fini(&conn->streams);
    stn_conn_io_fini(conn);
    free(conn);
}

static void tell_end(struct stn_conn *conn) {
    const struct sterna_error end = conn->end; /* closed() may free the connection */
    conn->told = 1;
    close_socket(conn);
    conn->depth++;
    stn_conn_drop_calls(conn, end.message);
    conn->depth--;
    if (conn->gone)
        free_conn(conn);
    else
        conn->ops->closed(conn->ctx, conn, &end);
}

/* What the socket has to tell us next. */
static int wanted(const struct stn_conn *conn) {
    if (conn->state == STN_CONN_CONNECT) return STN_POLL_WRITE;
    if (conn->state == STN_CONN_TLS) return conn->tls_events;
    return STN_POLL_READ | conn->out_waits | conn->in_waits;
}

static void watch(struct stn_conn *conn) {
    if (conn->state == STN_CONN_OVER) return;
    int rc = stn_poll_change(conn->poll, &conn->fd, wanted(conn));
    if (rc < 0) stn_conn_end_sys(conn, rc, "the socket cannot be watched");
}

/* After each turn: the only place from which a connection ends or is freed. */
static void settle(struct stn_conn *conn) {
    watch(conn);
    if (conn->depth) return;
    if (conn->gone)
        free_conn(conn);
    else if (conn->state == STN_CONN_OVER && !conn->told)
        tell_end(conn);
}

/* ---- turns ---- */

void stn_conn_rtt(struct stn_conn *conn, uint64_t sent_ns) {
    uint64_t rtt = conn->now_ns > sent_ns ? conn->now_ns - sent_ns : 1;
    if (!conn->min_rtt_ns || rtt < conn->min_rtt_ns) conn->min_rtt_ns = rtt;
    conn->rtt_ns = rtt;
    conn->n_rtts++;
}

static void finish_connect(struct stn_conn *conn) {
    int sys_errno = 0;
    socklen_t bytes = sizeof sys_errno;
    if (getsockopt(conn->fd.fd, SOL_SOCKET, SO_ERROR, &sys_errno, &bytes) < 0) sys_errno = errno;
    errno = sys_errno;
    if (sys_errno) {
        stn_conn_end_sys(conn, STERNA_EUNREACHABLE, "cannot connect");
        return;
    }
    stn_conn_rtt(conn, conn->opened_ns);
    conn->last_byte_ns = conn->now_ns;
    stn_conn_begin_handshake(conn);
    if (conn->ops->connected && conn->state != STN_CONN_OVER) conn->ops->connected(conn->ctx, conn);
}

static void write_again(struct stn_conn *conn) {
    uint64_t before = conn->sent_bytes;
    conn->out_waits = 0;
    stn_conn_write(conn);
    if (conn->sent_bytes != before) conn->moved_ns = conn->now_ns;
}

static int reads(const struct stn_conn *conn, int events) {
    return events == 0 || events & (STN_POLL_READ | conn->in_waits) || conn->out_errno;
}

static void ready(struct stn_poll_fd *fd, int events, uint64_t now_ns) {
    struct stn_conn *conn = STN_OUTER(fd, struct stn_conn, fd);
    conn->now_ns = now_ns;
    conn->depth++;
    if (conn->state == STN_CONN_CONNECT && events) finish_connect(conn);
    if (conn->state == STN_CONN_TLS) stn_conn_shake_tls(conn);
    if (conn->state > STN_CONN_TLS && events & conn->out_waits) write_again(conn);
    if (conn->state > STN_CONN_TLS && reads(conn, events)) stn_conn_read(conn);
    conn->depth--;
    settle(conn);
}

/* ---- opening ---- */

static int bind_source(int fd, const struct stn_address *to, uint16_t port,
                       struct sterna_error *err) {
    struct stn_address from = {.bytes = to->bytes};
    const int on = 1;
    char name[STN_ADDRESS_TEXT_BYTES];
    from.ip.ss_family = to->ip.ss_family;
    stn_address_set_port(&from, port);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&from.ip, from.bytes) == 0) return STERNA_OK;
    return stn_fail_sys(err, errno == EADDRINUSE ? STERNA_EBUSY : STERNA_EUNREACHABLE,
                        "%s: cannot connect from port %u", stn_address_text(to, name),
                        (unsigned)port);
}

static int start_connect(struct stn_conn *conn, uint16_t source_port, struct sterna_error *err) {
    const int on = 1;
    int fd = socket(conn->to.ip.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return stn_fail_sys(err, STERNA_EUNREACHABLE, "%s: no socket", conn->name);
    conn->fd.fd = fd;
    /* Without these all works as well. SO_RCVBUF would end the kernel's own tuning. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    int rc = source_port ? bind_source(fd, &conn->to, source_port, err) : STERNA_OK;
    if (rc < 0) return rc;
    if (connect(fd, (const struct sockaddr *)&conn->to.ip, conn->to.bytes) < 0 &&
        errno != EINPROGRESS && errno != EINTR) {
        int taken = source_port && (errno == EADDRINUSE || errno == EADDRNOTAVAIL);
        return stn_fail_sys(err, taken ? STERNA_EBUSY : STERNA_EUNREACHABLE, "%s: cannot connect",
                            conn->name);
    }
    rc = stn_poll_add(conn->poll, &conn->fd, STN_POLL_WRITE);
    return rc < 0 ? stn_fail_sys(err, rc, "%s: the socket cannot be watched", conn->name) : rc;
}

int stn_conn_open(struct stn_conn **out, struct stn_poll *poll, const struct stn_address *to,
                  uint16_t source_port, const struct stn_conn_config *config,
                  const struct stn_conn_ops *ops, void *ctx, uint64_t now_ns,
                  struct sterna_error *err) {
    *out = NULL;
    struct stn_conn *conn = calloc(1, sizeof *conn);
    if (!conn) return stn_fail_memory(err, "a connection");
    *conn = (struct stn_conn){.poll = poll,
                              .fd = {.fd = -1, .ready = ready},
                              .config = config,
                              .ops = ops,
                              .ctx = ctx,
                              .to = *to,
                              .now_ns = now_ns,
                              .opened_ns = now_ns,
                              .last_byte_ns = now_ns};
    stn_address_text(to, conn->name);
    stn_streams_init(&conn->streams);
    stn_receiver_init(&conn->receiver, &stn_conn_receiver_ops, conn, BODY_BYTES_MAX);
    int rc = start_connect(conn, source_port, err);
    if (rc < 0) {
        free_conn(conn);
        return rc;
    }
    *out = conn;
    return STERNA_OK;
}

void stn_conn_close(struct stn_conn **conn) {
    struct stn_conn *c = *conn;
    if (!c) return;
    *conn = NULL;
    c->state = STN_CONN_OVER;
    c->told = 1;
    c->depth++;
    stn_conn_drop_calls(c, "closed");
    c->depth--;
    c->gone = 1;
    if (c->depth == 0) free_conn(c);
}

void stn_conn_abort(struct stn_conn *conn, int code, const char *why) {
    stn_conn_end(conn, code, "%s", why);
}

/* ---- calls ---- */

int stn_conn_send(struct stn_conn *conn, struct stn_call *call, const uint8_t *frame, size_t bytes,
                  uint64_t now_ns) {
    struct stn_writer w;
    if (conn->state != STN_CONN_READY) return STERNA_AGAIN;
    int rc = stn_conn_room(conn, bytes, &w);
    if (rc == STERNA_OK) rc = stn_streams_take(&conn->streams, call, now_ns);
    if (rc != STERNA_OK) return rc;
    call->conn = conn;
    stn_put_bytes(&w, frame, bytes);
    stn_cql_set_stream(w.to, call->stream);
    stn_conn_wrote(conn, &w);
    return STERNA_OK;
}

void stn_conn_flush(struct stn_conn *conn, uint64_t now_ns) {
    if (conn->state <= STN_CONN_TLS || conn->out_waits) return;
    conn->now_ns = now_ns;
    stn_conn_write(conn);
    watch(conn);
}

int stn_conn_give_up(struct stn_conn *conn, struct stn_call *call) {
    if (conn->taking != call) {
        stn_streams_orphan(&conn->streams, call, conn->now_ns);
        return 1;
    }
    conn->taking = NULL; /* its answer has begun: the number is free again */
    stn_streams_release(&conn->streams, call->stream);
    if (!conn->in_row)
        stn_receiver_forget(&conn->receiver); /* else its callback's result does it */
    return 0;
}

/* ---- what is due ---- */

static void send_heartbeat(struct stn_conn *conn) {
    struct stn_writer w;
    if (stn_conn_room(conn, STN_CQL_HEADER_BYTES, &w) < 0) return; /* next time, perhaps */
    stn_cql_put_options(&w, STN_STREAM_HEARTBEAT);
    stn_conn_wrote(conn, &w);
    conn->heartbeat_ns = STN_MAX(conn->now_ns, 1);
    conn->heartbeat_alone = conn->streams.calls + conn->streams.orphans == 0;
    stn_conn_flush(conn, conn->now_ns);
}

void stn_conn_beat(struct stn_conn *conn, uint64_t now_ns) {
    if (conn->state != STN_CONN_READY || conn->heartbeat_ns) return;
    conn->now_ns = now_ns;
    send_heartbeat(conn);
}

static uint64_t later(uint64_t a, uint64_t b) { return STN_MAX(a, b); }

/* When the connection is dead if nothing moves until then; UINT64_MAX: nothing is waited for. */
static uint64_t dead_at(const struct stn_conn *conn, uint64_t limit_ns) {
    uint64_t asked = conn->streams.oldest ? conn->streams.oldest->sent_ns : conn->heartbeat_ns;
    if (!asked) return UINT64_MAX;
    return later(later(conn->last_byte_ns, conn->moved_ns), asked) + limit_ns;
}

static uint64_t tick_handshake(struct stn_conn *conn) {
    uint64_t due = conn->opened_ns + conn->config->connect_timeout_ns;
    if (conn->login_waits) stn_conn_log_in(conn);
    if (conn->now_ns < due) return due;
    stn_conn_end(conn, STERNA_EUNREACHABLE, "no answer to %s within %.1f s",
                 stn_conn_waits_for(conn), (double)conn->config->connect_timeout_ns / 1e9);
    return UINT64_MAX;
}

/* A server that is only slow at one request answers a heartbeat, so one is sent well before the
 * connection counts as dead. */
static uint64_t tick_heartbeat(struct stn_conn *conn, uint64_t limit_ns) {
    uint64_t silence = conn->config->idle_ns;
    if (conn->streams.oldest) silence = STN_MIN(silence, limit_ns / 2);
    if (conn->heartbeat_ns) return UINT64_MAX; /* one is enough */
    uint64_t due = later(conn->last_byte_ns, conn->sent_ns) + silence;
    if (conn->now_ns < due) return due;
    send_heartbeat(conn);
    return UINT64_MAX;
}

/* Too many requests that were given up; or one, and since it was sent no other has been answered
 * either: a server that only answers heartbeats is of no use. */
static uint64_t tick_orphans(struct stn_conn *conn) {
    if (conn->streams.orphans == 0) return UINT64_MAX; /* mostly: the search takes time */
    uint64_t oldest_ns = stn_streams_oldest_orphan_ns(&conn->streams);
    if (conn->streams.orphans <= conn->config->orphans_max && conn->answered_ns > oldest_ns)
        return UINT64_MAX;
    uint64_t due = oldest_ns + ORPHAN_AGE_NS;
    if (conn->now_ns < due) return due;
    stn_conn_end(conn, STERNA_EUNREACHABLE,
                 "%llu requests that were given up are not answered: the server answers too late",
                 (unsigned long long)conn->streams.orphans);
    return UINT64_MAX;
}

uint64_t stn_conn_tick(struct stn_conn *conn, uint64_t now_ns) {
    conn->now_ns = now_ns;
    if (conn->state < STN_CONN_READY) return tick_handshake(conn);
    uint64_t limit_ns =
        STN_MAX(conn->config->progress_floor_ns, PROGRESS_ROUND_TRIPS * conn->min_rtt_ns);
    if (conn->state == STN_CONN_READY && now_ns >= dead_at(conn, limit_ns))
        stn_conn_end(conn, STERNA_EUNREACHABLE, "no byte for %.1f s, with %llu requests on the way",
                     (double)limit_ns / 1e9, (unsigned long long)conn->streams.calls);
    if (conn->state == STN_CONN_OVER) return UINT64_MAX;
    uint64_t due = STN_MIN(tick_heartbeat(conn, limit_ns), tick_orphans(conn));
    return conn->state == STN_CONN_OVER ? UINT64_MAX : STN_MIN(due, dead_at(conn, limit_ns));
}

/* ---- looks at it ---- */

int stn_conn_is_ready(const struct stn_conn *conn) { return conn->state == STN_CONN_READY; }

const struct stn_address *stn_conn_address(const struct stn_conn *conn) { return &conn->to; }

const struct stn_supported *stn_conn_supported(const struct stn_conn *conn) {
    return &conn->supported;
}

struct stn_call *stn_conn_oldest(const struct stn_conn *conn) {
    return conn->streams.oldest;
}

/* A row that is taken apart; what is gathered is small. */
static uint64_t landed_bytes(const struct stn_conn *conn) {
    if (!conn->taking) return 0;
    return conn->receiver.header.body_bytes - conn->receiver.body_left;
}

void stn_conn_stats(const struct stn_conn *conn, struct stn_conn_stats *out) {
    *out = (struct stn_conn_stats){.calls = conn->streams.calls,
                                   .orphans = conn->streams.orphans,
                                   .outstanding_bytes = conn->streams.outstanding_bytes,
                                   .landed_bytes = landed_bytes(conn),
                                   .received_bytes = conn->received_bytes,
                                   .sent_bytes = conn->sent_bytes,
                                   .copied_bytes = conn->receiver.copied_bytes,
                                   .last_byte_ns = conn->last_byte_ns,
                                   .min_rtt_ns = conn->min_rtt_ns,
                                   .rtt_ns = conn->rtt_ns,
                                   .n_rtts = conn->n_rtts};
}
