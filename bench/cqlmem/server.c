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
enum { EVENTS = 64, BACKLOG = 1024 };

struct listener {
    int kind; /* SOURCE_LISTENER */
    struct node *node;
    enum node_state state; /* the first worker's */
};

struct worker {
    struct server *server;
    pthread_t thread;
    int poll;
    int wake_kind; /* SOURCE_WAKE */
    int wake;
    uint64_t orders;      /* of the server, that it has carried out; under the server's lock */
    pthread_mutex_t lock; /* of the list: the first worker adds to it */
    struct connection *connections;
};

struct server {
    struct store *store;
    struct server_options options;
    struct listener listeners[NODES_MAX];
    struct worker *workers;
    unsigned next; /* worker of the next connection */
    /* what the threads are told */
    pthread_mutex_t lock;
    pthread_cond_t obeyed;
    uint64_t orders;
    int ends;
    struct node *changed; /* by the last order */
    enum node_state states[NODES_MAX];
};

/* ---- listening ---- */

static uint16_t *port_of(struct sockaddr_storage *a) {
    return a->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)a)->sin6_port
                                    : &((struct sockaddr_in *)a)->sin_port;
}

/* At an address that may leave the port open; then at the one that it got. */
static int bind_node(struct node *n, const char *congestion) {
    const int one = 1;
    int fd = socket(n->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof n->address;
    if (fd < 0) die("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (congestion &&
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)) < 0)
        die("--cc %s: %s", congestion, strerror(errno));
    if (bind(fd, (struct sockaddr *)&n->address, n->address_bytes) < 0 ||
        getsockname(fd, (struct sockaddr *)&n->address, &bytes) < 0)
        die("%s:%u: %s", n->host, ntohs(*port_of(&n->address)), strerror(errno));
    return fd;
}

/* Linux: a port that was asked for by number stays the socket's while it does not listen, so that
 * nobody else has it when the node comes back. */
static void listen_node(struct node *n, const char *congestion) {
    int found = bind_node(n, congestion);
    n->listener = bind_node(n, congestion);
    close(found);
    n->port = ntohs(*port_of(&n->address));
    if (listen(n->listener, BACKLOG) < 0) die("%s:%u: %s", n->host, n->port, strerror(errno));
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
            connection_new(fd, s->store, node, s->options.delay_ms * STN_NS_PER_MS,
                           s->options.late_ms * STN_NS_PER_MS);
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

/* Others only add, in front of it. */
static struct connection *first_connection(struct worker *w) {
    pthread_mutex_lock(&w->lock);
    struct connection *c = w->connections;
    pthread_mutex_unlock(&w->lock);
    return c;
}

/* With --delay-ms or --late-every: gives a turn to all that have something due; returns when the
 * next has. */
static uint64_t turn_due(struct worker *w) {
    uint64_t now = stn_now(stn_clock_monotonic()), next = UINT64_MAX;
    struct connection *after;
    for (struct connection *c = first_connection(w); c; c = after) {
        after = c->next;
        if (c->is_held) continue;
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

/* ---- nodes that come and go ---- */

static void change_listener(struct worker *w, struct listener *l, enum node_state state) {
    struct node *n = l->node;
    if (l->state == state) return;
    if (l->state == NODE_DOWN && listen(n->listener, BACKLOG) < 0)
        die("%s:%u: %s", n->host, n->port, strerror(errno));
    if (l->state == NODE_UP) watch(w->poll, n->listener, EPOLL_CTL_DEL, 0, l);
    if (state == NODE_UP) watch(w->poll, n->listener, EPOLL_CTL_ADD, EPOLLIN, l);
    if (state == NODE_DOWN) shutdown(n->listener, SHUT_RD);
    l->state = state;
}

static void change_connection(struct worker *w, struct connection *c, enum node_state state) {
    int holds = state != NODE_UP;
    if (holds && !c->is_held) watch(w->poll, c->fd, EPOLL_CTL_DEL, 0, c);
    if (!holds && c->is_held) watch(w->poll, c->fd, EPOLL_CTL_ADD, c->armed, c);
    c->is_held = holds;
    if (state != NODE_DOWN) return;
    c->resets = 1;
    unlink_connection(w, c);
}

/* What the server was told last. 0: to end. */
static int obey(struct worker *w) {
    struct server *s = w->server;
    uint64_t count;
    while (read(w->wake, &count, sizeof count) > 0) {}
    pthread_mutex_lock(&s->lock);
    int ends = s->ends;
    for (size_t i = 0; !ends && w == s->workers && i < s->store->n_nodes; i++)
        change_listener(w, &s->listeners[i], s->states[i]);
    struct connection *after;
    for (struct connection *c = first_connection(w); !ends && c; c = after) {
        after = c->next;
        int told = c->wants_status && s->changed && s->changed != c->node;
        if (told && s->states[s->changed - s->store->nodes] != NODE_HUNG)
            frame_status(c, s->changed, s->states[s->changed - s->store->nodes] == NODE_UP);
        change_connection(w, c, s->states[c->node - s->store->nodes]);
        if (told && s->states[c->node - s->store->nodes] == NODE_UP) turn(w, c);
    }
    w->orders = s->orders;
    pthread_cond_broadcast(&s->obeyed);
    pthread_mutex_unlock(&s->lock);
    return !ends;
}

static void wake(struct worker *w) {
    const uint64_t one = 1;
    if (write(w->wake, &one, sizeof one) < 0) die("eventfd: %s", strerror(errno));
}

void server_set_node(struct server *s, size_t node, enum node_state state) {
    pthread_mutex_lock(&s->lock);
    int was_hung = s->states[node] == NODE_HUNG;
    s->changed = was_hung && state == NODE_UP ? NULL : &s->store->nodes[node];
    s->states[node] = state;
    s->orders++;
    /* The first worker before the others: it hands no connection of the node on any more. */
    for (unsigned i = 0; i < s->options.threads; i++) {
        wake(&s->workers[i]);
        while (s->workers[i].orders < s->orders) pthread_cond_wait(&s->obeyed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct epoll_event events[EVENTS];
    uint64_t due = UINT64_MAX;
    for (;;) {
        int n = epoll_wait(w->poll, events, EVENTS, timeout_ms(due)), ordered = 0;
        for (int i = 0; i < n; i++) {
            void *source = events[i].data.ptr;
            int kind = *(int *)source;
            if (kind == SOURCE_WAKE)
                ordered = 1; /* afterwards: it may end connections that have events here */
            else if (kind == SOURCE_LISTENER)
                accept_all(w->server, ((struct listener *)source)->node);
            else
                turn(w, source);
        }
        if (ordered && !obey(w)) return NULL;
        if (w->server->options.delay_ms || w->server->store->every[FAULT_LATE]) due = turn_due(w);
    }
}

/* ---- start and stop ---- */

static void open_worker(struct server *s, struct worker *w) {
    w->server = s;
    w->poll = epoll_create1(EPOLL_CLOEXEC);
    if (w->poll < 0) die("epoll: %s", strerror(errno));
    pthread_mutex_init(&w->lock, NULL);
    w->wake_kind = SOURCE_WAKE;
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake < 0) die("eventfd: %s", strerror(errno));
    watch(w->poll, w->wake, EPOLL_CTL_ADD, EPOLLIN, &w->wake_kind);
}

struct server *server_start(struct store *store, const struct server_options *options) {
    struct server *s = must(calloc(1, sizeof *s));
    s->store = store;
    s->options = *options;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->obeyed, NULL);
    s->workers = must(calloc(options->threads, sizeof *s->workers));
    for (unsigned i = 0; i < options->threads; i++) open_worker(s, &s->workers[i]);
    for (size_t i = 0; i < store->n_nodes; i++) {
        s->listeners[i] = (struct listener){SOURCE_LISTENER, &store->nodes[i], NODE_UP};
        watch(s->workers[0].poll, store->nodes[i].listener, EPOLL_CTL_ADD, EPOLLIN,
              &s->listeners[i]);
    }
    for (unsigned i = 0; i < options->threads; i++)
        if (pthread_create(&s->workers[i].thread, NULL, work, &s->workers[i])) die("no thread");
    return s;
}

void server_stop(struct server *s) {
    pthread_mutex_lock(&s->lock);
    s->ends = 1;
    for (unsigned i = 0; i < s->options.threads; i++) wake(&s->workers[i]);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->options.threads; i++) pthread_join(s->workers[i].thread, NULL);
    for (unsigned i = 0; i < s->options.threads; i++) {
        struct worker *w = &s->workers[i];
        while (w->connections) unlink_connection(w, w->connections);
        pthread_mutex_destroy(&w->lock);
        close(w->poll);
        close(w->wake);
    }
    for (size_t i = 0; i < s->store->n_nodes; i++) close(s->store->nodes[i].listener);
    pthread_cond_destroy(&s->obeyed);
    pthread_mutex_destroy(&s->lock);
    free(s->workers);
    free(s);
}
