#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "connection.h"

enum source { SOURCE_WAKE, SOURCE_LISTENER, SOURCE_CONNECTION };
enum { EVENTS = 64 };

struct listener {
    int kind; /* SOURCE_LISTENER */
    struct node *node;
};

struct worker {
    struct server *server;
    pthread_t thread;
    int poll;
    pthread_mutex_t lock; /* of the list: the first worker adds to it */
    struct connection *connections;
};

struct server {
    struct store *store;
    struct server_options options;
    int wake_kind; /* SOURCE_WAKE */
    int wake;
    struct listener listeners[NODES_MAX];
    struct worker *workers;
    unsigned next; /* worker of the next connection */
};

/* ---- listening ---- */

static uint16_t *port_of(struct sockaddr_storage *a) {
    return a->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)a)->sin6_port
                                    : &((struct sockaddr_in *)a)->sin_port;
}

static void listen_node(struct node *n, const char *congestion) {
    const int one = 1;
    int fd = socket(n->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof n->address;
    if (fd < 0) die("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (congestion &&
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)) < 0)
        die("--cc %s: %s", congestion, strerror(errno));
    if (bind(fd, (struct sockaddr *)&n->address, n->address_bytes) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&n->address, &bytes) < 0)
        die("%s:%u: %s", n->host, ntohs(*port_of(&n->address)), strerror(errno));
    n->port = ntohs(*port_of(&n->address));
    n->listener = fd;
}

void server_listen(struct store *store, const struct server_options *options) {
    for (size_t i = 0; i < store->n_nodes; i++) listen_node(&store->nodes[i], options->congestion);
}

/* ---- connections ---- */

static void watch(int poll, int fd, int operation, uint32_t events, void *source) {
    struct epoll_event e = {.events = events, .data.ptr = source};
    if (epoll_ctl(poll, operation, fd, &e) < 0) die("epoll: %s", strerror(errno));
}

static void link_connection(struct worker *w, struct connection *c) {
    pthread_mutex_lock(&w->lock);
    c->next = w->connections;
    if (c->next) c->next->prev = c;
    w->connections = c;
    pthread_mutex_unlock(&w->lock);
    c->armed = EPOLLIN;
    watch(w->poll, c->fd, EPOLL_CTL_ADD, EPOLLIN, c);
}

static void unlink_connection(struct worker *w, struct connection *c) {
    pthread_mutex_lock(&w->lock);
    if (c->next) c->next->prev = c->prev;
    *(c->prev ? &c->prev->next : &w->connections) = c->next;
    pthread_mutex_unlock(&w->lock);
    connection_free(c);
}

static void accept_all(struct server *s, struct node *node) {
    const int one = 1;
    int fd;
    while ((fd = accept4(node->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c =
            connection_new(fd, s->store, node, s->options.delay_ms * STN_NS_PER_MS);
        c->kind = SOURCE_CONNECTION;
        link_connection(&s->workers[s->next++ % s->options.threads], c);
    }
}

static void turn(struct worker *w, struct connection *c) {
    uint32_t events = connection_turn(c, stn_now(stn_clock_monotonic()));
    if (!events) {
        unlink_connection(w, c);
    } else if (events != c->armed) {
        c->armed = events;
        watch(w->poll, c->fd, EPOLL_CTL_MOD, events, c);
    }
}

/* With --delay-ms: gives a turn to all that have something due; returns when the next has. */
static uint64_t turn_due(struct worker *w) {
    uint64_t now = stn_now(stn_clock_monotonic()), next = UINT64_MAX;
    pthread_mutex_lock(&w->lock);
    struct connection *c = w->connections, *after;
    pthread_mutex_unlock(&w->lock); /* others only add, in front of it */
    for (; c; c = after) {
        after = c->next;
        if (connection_due_ns(c) <= now) {
            turn(w, c);
            return now; /* it may be gone: from the start again */
        }
        next = STN_MIN(next, connection_due_ns(c));
    }
    return next;
}

static int timeout_ms(uint64_t due_ns) {
    uint64_t now = stn_now(stn_clock_monotonic());
    if (due_ns == UINT64_MAX) return -1;
    return due_ns <= now ? 0 : (int)((due_ns - now + STN_NS_PER_MS - 1) / STN_NS_PER_MS);
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct epoll_event events[EVENTS];
    uint64_t due = UINT64_MAX;
    for (;;) {
        int n = epoll_wait(w->poll, events, EVENTS, timeout_ms(due));
        for (int i = 0; i < n; i++) {
            void *source = events[i].data.ptr;
            int kind = *(int *)source;
            if (kind == SOURCE_WAKE) return NULL;
            if (kind == SOURCE_LISTENER)
                accept_all(w->server, ((struct listener *)source)->node);
            else
                turn(w, source);
        }
        if (w->server->options.delay_ms) due = turn_due(w);
    }
}

/* ---- start and stop ---- */

static void open_worker(struct server *s, struct worker *w) {
    w->server = s;
    w->poll = epoll_create1(EPOLL_CLOEXEC);
    if (w->poll < 0) die("epoll: %s", strerror(errno));
    pthread_mutex_init(&w->lock, NULL);
    watch(w->poll, s->wake, EPOLL_CTL_ADD, EPOLLIN, &s->wake_kind);
}

struct server *server_start(struct store *store, const struct server_options *options) {
    struct server *s = must(calloc(1, sizeof *s));
    s->store = store;
    s->options = *options;
    s->wake_kind = SOURCE_WAKE;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0) die("eventfd: %s", strerror(errno));
    s->workers = must(calloc(options->threads, sizeof *s->workers));
    for (unsigned i = 0; i < options->threads; i++) open_worker(s, &s->workers[i]);
    for (size_t i = 0; i < store->n_nodes; i++) {
        s->listeners[i] = (struct listener){SOURCE_LISTENER, &store->nodes[i]};
        watch(s->workers[0].poll, store->nodes[i].listener, EPOLL_CTL_ADD, EPOLLIN,
              &s->listeners[i]);
    }
    for (unsigned i = 0; i < options->threads; i++)
        if (pthread_create(&s->workers[i].thread, NULL, work, &s->workers[i])) die("no thread");
    return s;
}

void server_stop(struct server *s) {
    const uint64_t one = 1;
    if (write(s->wake, &one, sizeof one) < 0) die("eventfd: %s", strerror(errno));
    for (unsigned i = 0; i < s->options.threads; i++) pthread_join(s->workers[i].thread, NULL);
    for (unsigned i = 0; i < s->options.threads; i++) {
        struct worker *w = &s->workers[i];
        while (w->connections) unlink_connection(w, w->connections);
        pthread_mutex_destroy(&w->lock);
        close(w->poll);
    }
    for (size_t i = 0; i < s->store->n_nodes; i++) close(s->store->nodes[i].listener);
    close(s->wake);
    free(s->workers);
    free(s);
}
