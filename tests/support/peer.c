/* The peer's thread: listening, accepting, reading, sending. */
#include "support/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/peer_inside.h"

enum { POLLS_MAX = 4096, READ_BYTES = 64 << 10, BACKLOG = 256 };

struct peer {
    struct peer_options options;
    struct peer_node nodes[PEER_NODES_MAX];
    char texts[PEER_NODES_MAX][2][32]; /* ip, tokens by default */
    int listeners[PEER_NODES_MAX];     /* have their ports also while they are stopped */
    int stopped[PEER_NODES_MAX];
    uint16_t port;
    int wake[2]; /* a pipe */
    pthread_t thread;
    struct peer_conn *conns; /* the thread's */
    unsigned n_conns;
    struct pollfd polls[POLLS_MAX];

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    void (*run)(void *arg); /* to be run; NULL: nothing */
    void *arg;
    int stopping;
    unsigned accepted[PEER_NODES_MAX];
    unsigned requests[32]; /* by opcode */
};

void peer_die(const char *what) {
    perror(what);
    abort();
}

const struct peer_options *peer_options_of(const struct peer *peer) { return &peer->options; }
const struct peer_node *peer_node_at(const struct peer *peer, size_t i) { return &peer->nodes[i]; }
size_t peer_n_nodes(const struct peer *peer) { return peer->options.n_nodes; }

/* ---- listening ---- */

/* Bound, and listening if the port is given; -1: another program has it. */
static int open_at(const char *ip, uint16_t port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int on = 1;
    if (inet_pton(AF_INET, ip, &at.sin_addr) != 1) peer_die(ip);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) peer_die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && (port == 0 || listen(fd, BACKLOG) == 0))
        return fd;
    close(fd);
    return -1;
}

static uint16_t port_of(int fd) {
    struct sockaddr_in at;
    socklen_t bytes = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &bytes) < 0) peer_die("getsockname");
    return ntohs(at.sin_port);
}

/* All nodes at a port that is free at the first; 0 if another program has it somewhere. Each has
 * asked for its port by number, so that it keeps it while it does not listen (Linux). */
static int listen_all(struct peer *p) {
    int found = open_at(p->nodes[0].ip, 0);
    size_t n = 0;
    if (found < 0) peer_die("bind");
    p->port = port_of(found);
    while (n < p->options.n_nodes && (p->listeners[n] = open_at(p->nodes[n].ip, p->port)) >= 0) n++;
    close(found);
    if (n == p->options.n_nodes) return 1;
    while (n-- > 0) close(p->listeners[n]);
    return 0;
}

static void set_default(struct peer *p, size_t i) {
    static const uint8_t schema[16] = "the same at all";
    static const uint8_t none[16];
    struct peer_node *n = &p->nodes[i];
    if (!n->ip) n->ip = p->texts[i][0];
    if (!n->told_ip) n->told_ip = n->ip;
    if (!n->dc) n->dc = "dc1";
    if (!n->rack) n->rack = "rack1";
    if (!n->tokens) n->tokens = p->texts[i][1];
    if (memcmp(n->host_id, none, 16) == 0) {
        memset(n->host_id, (int)i + 1, 15);
        n->host_id[15] = 1;
    }
    if (memcmp(n->schema_version, none, 16) == 0) memcpy(n->schema_version, schema, 16);
}

static void set_defaults(struct peer *p) {
    if (!p->options.n_nodes) p->options.n_nodes = 1;
    if (p->options.n_nodes > PEER_NODES_MAX) peer_die("too many nodes");
    for (size_t i = 0; i < p->options.n_nodes; i++) {
        if (p->options.nodes) p->nodes[i] = p->options.nodes[i];
        snprintf(p->texts[i][0], sizeof p->texts[i][0], "127.0.0.%u", (unsigned)i + 1);
        snprintf(
            p->texts[i][1], sizeof p->texts[i][1], "%lld",
            (long long)(int64_t)((UINT64_C(1) << 63) + 1 + UINT64_MAX / p->options.n_nodes * i));
        set_default(p, i);
    }
}

/* ---- connections ---- */

static void accept_one(struct peer *p, size_t node) {
    const int on = 1;
    int fd = accept4(p->listeners[node], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    struct peer_conn *c = calloc(1, sizeof *c);
    if (!c) peer_die("calloc");
    *c = (struct peer_conn){.peer = p, .number = ++p->n_conns, .node = node, .fd = fd};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (p->options.tls) {
        c->ssl = SSL_new(p->options.tls);
        if (!c->ssl || !SSL_set_fd(c->ssl, fd)) peer_die("SSL_new");
        SSL_set_accept_state(c->ssl);
        SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        c->shaking = 1;
    }
    c->next = p->conns;
    p->conns = c;
    pthread_mutex_lock(&p->lock);
    p->accepted[node]++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->options.accepted) p->options.accepted(p->options.ctx, c);
}

static void free_conn(struct peer_conn *c) {
    SSL_free(c->ssl);
    if (c->fd >= 0) close(c->fd);
    free(c->in);
    free(c->out);
    free(c->startup);
    free(c);
}

static void sweep(struct peer *p) {
    for (struct peer_conn **at = &p->conns; *at;) {
        struct peer_conn *c = *at;
        if (!c->dead) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        free_conn(c);
    }
}

static void reset(struct peer_conn *c) {
    const struct linger now = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    c->dead = 1;
}

/* ---- out ---- */

/* Bytes; 0: not now; -1: the connection is dead. */
static ssize_t put(struct peer_conn *c, const void *data, size_t bytes) {
    ssize_t n;
    if (!c->ssl) {
        n = send(c->fd, data, bytes, MSG_NOSIGNAL);
        return n > 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    ERR_clear_error();
    n = SSL_write(c->ssl, data, (int)bytes);
    if (n > 0) return n;
    int e = SSL_get_error(c->ssl, (int)n);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void apply_cut(struct peer_conn *c) {
    if (c->cut == CUT_RESET) reset(c);
    if (c->cut == CUT_FINISH) {
        shutdown(c->fd, SHUT_WR);
        c->out_at = c->out_bytes = 0;
        c->cut_after = SIZE_MAX; /* what is sent later goes nowhere */
    }
}

/* One piece. */
static void pump(struct peer_conn *c) {
    if (c->shaking || c->dead) return;
    size_t n = c->out_bytes - c->out_at;
    if (c->cut && c->cut_after == SIZE_MAX) {
        c->out_at = c->out_bytes = 0;
        return;
    }
    if (c->piece) n = STN_MIN(n, c->piece);
    if (c->cut) n = STN_MIN(n, c->cut_after);
    ssize_t sent = n ? put(c, c->out + c->out_at, n) : 0;
    if (sent < 0) {
        c->dead = 1;
        return;
    }
    c->out_at += (size_t)sent;
    if (c->out_at == c->out_bytes) c->out_at = c->out_bytes = 0;
    if (!c->cut) return;
    c->cut_after -= (size_t)sent;
    if (c->cut_after == 0) apply_cut(c);
}

static void append(uint8_t **to, size_t *bytes, size_t *cap, const void *data, size_t n) {
    if (stn_grow((void **)to, cap, *bytes + n, 1) < 0) peer_die("memory");
    if (n) memcpy(*to + *bytes, data, n);
    *bytes += n;
}

void peer_send(struct peer_conn *c, const void *data, size_t bytes) {
    append(&c->out, &c->out_bytes, &c->out_cap, data, bytes);
}

/* ---- in ---- */

static void serve_frame(struct peer_conn *c, const uint8_t *frame, size_t bytes) {
    struct peer *p = c->peer;
    struct peer_frame f;
    if (!peer_parse(frame, bytes, &f)) {
        peer_send_error(c, f.stream, STN_CQL_E_PROTOCOL, "the peer cannot read this frame");
        free(f.text);
        return;
    }
    if (!p->options.frame || !p->options.frame(p->options.ctx, c, &f)) peer_manners(c, &f);
    pthread_mutex_lock(&p->lock);
    p->requests[f.opcode % STN_COUNT(p->requests)]++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    free(f.text);
}

static void serve_input(struct peer_conn *c) {
    size_t at = 0;
    if (c->peer->options.raw) {
        c->peer->options.raw(c->peer->options.ctx, c);
        c->in_bytes = 0;
        return;
    }
    while (!c->dead && c->in_bytes - at >= STN_CQL_HEADER_BYTES) {
        const uint8_t *f = c->in + at;
        size_t bytes = ((size_t)f[5] << 24 | (size_t)f[6] << 16 | (size_t)f[7] << 8 | f[8]) +
                       STN_CQL_HEADER_BYTES;
        if (f[0] != STN_CQL_VERSION) { /* as servers do: say so, and close */
            peer_send_error(c, 0, STN_CQL_E_PROTOCOL, "Invalid or unsupported protocol version");
            peer_finish_after(c, c->out_bytes - c->out_at);
            at = c->in_bytes;
            break;
        }
        if (c->in_bytes - at < bytes) break;
        serve_frame(c, f, bytes);
        at += bytes;
    }
    memmove(c->in, c->in + at, c->in_bytes - at);
    c->in_bytes -= at;
}

static ssize_t get(struct peer_conn *c, void *to, size_t bytes) {
    if (!c->ssl) {
        ssize_t n = recv(c->fd, to, bytes, 0);
        return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error();
    int n = SSL_read(c->ssl, to, (int)bytes);
    if (n > 0) return n;
    int e = SSL_get_error(c->ssl, n);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void shake(struct peer_conn *c) {
    ERR_clear_error();
    int n = SSL_accept(c->ssl);
    if (n == 1) {
        c->shaking = 0;
        return;
    }
    int e = SSL_get_error(c->ssl, n);
    if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) c->dead = 1;
}

static void take_input(struct peer_conn *c) {
    if (c->shaking) shake(c);
    for (ssize_t n = 1; n > 0 && !c->shaking && !c->dead && !c->deaf;) {
        uint8_t data[READ_BYTES];
        n = get(c, data, sizeof data);
        if (n < 0) c->dead = 1;
        if (n > 0) append(&c->in, &c->in_bytes, &c->in_cap, data, (size_t)n);
        if (n > 0) serve_input(c);
    }
}

/* ---- the thread ---- */

static short wanted(const struct peer_conn *c) {
    short events = c->deaf ? 0 : POLLIN;
    if (c->shaking) return POLLIN;
    if (c->out_bytes > c->out_at || (c->cut && c->cut_after == 0)) events |= POLLOUT;
    return events;
}

static nfds_t fill_polls(struct peer *p) {
    nfds_t n = 0;
    p->polls[n++] = (struct pollfd){.fd = p->wake[0], .events = POLLIN};
    for (size_t i = 0; i < p->options.n_nodes; i++)
        p->polls[n++] =
            (struct pollfd){.fd = p->stopped[i] ? -1 : p->listeners[i], .events = POLLIN};
    for (struct peer_conn *c = p->conns; c; c = c->next) {
        if (n == POLLS_MAX) peer_die("too many connections");
        p->polls[n++] = (struct pollfd){.fd = c->fd, .events = wanted(c)};
    }
    return n;
}

static void serve_conns(struct peer *p, nfds_t at) {
    for (struct peer_conn *c = p->conns; c; c = c->next, at++) {
        short got = p->polls[at].revents;
        if (got & (POLLIN | POLLHUP | POLLERR)) take_input(c);
        if (c->deaf && got & (POLLHUP | POLLERR)) c->dead = 1;
        if (got & POLLOUT) pump(c);
    }
}

/* 0: the peer is to end. */
static int run_posted(struct peer *p) {
    char byte[64];
    while (read(p->wake[0], byte, sizeof byte) > 0) {}
    pthread_mutex_lock(&p->lock);
    void (*run)(void *) = p->run;
    void *arg = p->arg;
    int go_on = !p->stopping;
    pthread_mutex_unlock(&p->lock);
    if (!run) return go_on;
    run(arg);
    pthread_mutex_lock(&p->lock);
    p->run = NULL;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return go_on;
}

static void *serve(void *arg) {
    struct peer *p = arg;
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal); /* OpenSSL's own sockets may raise it */
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
    for (int go_on = 1; go_on;) {
        nfds_t n = fill_polls(p);
        if (poll(p->polls, n, -1) < 0 && errno != EINTR) peer_die("poll");
        serve_conns(p, 1 + p->options.n_nodes); /* before there are others in the list */
        for (size_t i = 0; i < p->options.n_nodes; i++)
            if (p->polls[1 + i].revents) accept_one(p, i);
        go_on = run_posted(p);
        sweep(p);
    }
    return NULL;
}

/* ---- for the test ---- */

struct peer *peer_open(const struct peer_options *options) {
    struct peer *p = calloc(1, sizeof *p);
    if (!p) peer_die("calloc");
    if (options) p->options = *options;
    set_defaults(p);
    if (p->options.tls) SSL_CTX_up_ref(p->options.tls);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    if (pipe2(p->wake, O_CLOEXEC | O_NONBLOCK) < 0) peer_die("pipe2");
    for (unsigned tries = 0; !listen_all(p);)
        if (++tries == 100) peer_die("no port that all nodes can have");
    if (pthread_create(&p->thread, NULL, serve, p)) peer_die("pthread_create");
    return p;
}

static void nudge(struct peer *p) {
    if (write(p->wake[1], "x", 1) < 0 && errno != EAGAIN) peer_die("write");
}

void peer_close(struct peer **peer) {
    struct peer *p = *peer;
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stopping = 1;
    pthread_mutex_unlock(&p->lock);
    nudge(p);
    pthread_join(p->thread, NULL);
    for (struct peer_conn *c = p->conns; c; c = c->next) c->dead = 1;
    sweep(p);
    for (size_t i = 0; i < p->options.n_nodes; i++) close(p->listeners[i]);
    close(p->wake[0]);
    close(p->wake[1]);
    SSL_CTX_free(p->options.tls);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *peer = NULL;
}

uint16_t peer_port(const struct peer *p) { return p->port; }

void peer_run(struct peer *p, void (*run)(void *arg), void *arg) {
    pthread_mutex_lock(&p->lock);
    while (p->run) pthread_cond_wait(&p->changed, &p->lock); /* another thread's */
    p->run = run;
    p->arg = arg;
    nudge(p);
    while (p->run == run && p->arg == arg) pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

struct node_change {
    struct peer *peer;
    size_t node;
    const struct peer_node *is;
};

static void stop_node(void *arg) {
    struct node_change *c = arg;
    struct peer *p = c->peer;
    if (!p->stopped[c->node] && shutdown(p->listeners[c->node], SHUT_RD) < 0) peer_die("shutdown");
    p->stopped[c->node] = 1;
    for (struct peer_conn *conn = p->conns; conn; conn = conn->next)
        if (conn->node == c->node) reset(conn);
}

static void start_node(void *arg) {
    struct node_change *c = arg;
    struct peer *p = c->peer;
    if (p->stopped[c->node] && listen(p->listeners[c->node], BACKLOG) < 0) peer_die("listen");
    p->stopped[c->node] = 0;
}

void peer_stop_node(struct peer *p, size_t node) {
    peer_run(p, stop_node, &(struct node_change){p, node, NULL});
}

void peer_start_node(struct peer *p, size_t node) {
    peer_run(p, start_node, &(struct node_change){p, node, NULL});
}

static void set_node(void *arg) {
    struct node_change *c = arg;
    const char *ip = c->peer->nodes[c->node].ip;
    c->peer->nodes[c->node] = *c->is;
    c->peer->nodes[c->node].ip = ip;
    set_default(c->peer, c->node);
}

void peer_set_node(struct peer *p, size_t node, const struct peer_node *is) {
    struct node_change change = {p, node, is};
    if (pthread_equal(pthread_self(), p->thread))
        set_node(&change);
    else
        peer_run(p, set_node, &change);
}

unsigned peer_accepted(struct peer *p, size_t node) {
    unsigned n = 0;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->options.n_nodes; i++)
        if (node == SIZE_MAX || node == i) n += p->accepted[i];
    pthread_mutex_unlock(&p->lock);
    return n;
}

void peer_await(struct peer *p, uint8_t opcode, unsigned n) {
    pthread_mutex_lock(&p->lock);
    while (p->requests[opcode] < n) pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

unsigned peer_requests(struct peer *p, uint8_t opcode) {
    pthread_mutex_lock(&p->lock);
    unsigned n = p->requests[opcode];
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- for hooks ---- */

unsigned peer_number(const struct peer_conn *c) { return c->number; }
size_t peer_node(const struct peer_conn *c) { return c->node; }

uint16_t peer_client_port(const struct peer_conn *c) {
    struct sockaddr_in at;
    socklen_t bytes = sizeof at;
    if (getpeername(c->fd, (struct sockaddr *)&at, &bytes) < 0) return 0; /* it is gone */
    return ntohs(at.sin_port);
}

struct peer_conn *peer_find(struct peer *p, unsigned number) {
    for (struct peer_conn *c = p->conns; c; c = c->next)
        if (c->number == number && !c->dead) return c;
    return NULL;
}

const char *peer_startup(const struct peer_conn *c, const char *key) {
    for (size_t at = 0; at < c->startup_bytes;) {
        const char *name = c->startup + at, *value = name + strlen(name) + 1;
        if (strcmp(name, key) == 0) return value;
        at = (size_t)(value - c->startup) + strlen(value) + 1;
    }
    return NULL;
}

void peer_pieces(struct peer_conn *c, size_t bytes) { c->piece = bytes; }

void peer_reset_after(struct peer_conn *c, size_t bytes) {
    c->cut = CUT_RESET;
    c->cut_after = bytes;
}

void peer_finish_after(struct peer_conn *c, size_t bytes) {
    c->cut = CUT_FINISH;
    c->cut_after = bytes;
}

void peer_stop_reading(struct peer_conn *c, int stop) { c->deaf = stop; }
