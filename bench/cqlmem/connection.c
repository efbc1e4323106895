#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "wire/cql.h"

enum {
    READ_BYTES = 256 << 10,  /* room for one recv() */
    ANSWERS_BYTES = 4 << 20, /* then they are sent before more requests are taken */
    REQUEST_BYTES_MAX = 16 << 20,
    HELD_BYTES_MAX = 256 << 20 /* with --delay-ms */
};

struct connection *connection_new(int fd, struct store *store, struct node *node, uint64_t delay_ns,
                                  uint64_t late_ns) {
    struct connection *c = must(calloc(1, sizeof *c));
    c->fd = fd;
    c->store = store;
    c->node = node;
    c->delay_ns = delay_ns;
    c->late_ns = late_ns;
    return c;
}

void connection_free(struct connection *c) {
    const struct linger now = {1, 0};
    if (c->resets) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    output_free(&c->out);
    for (size_t i = 0; i < c->n_late; i++) free(c->late[i].frame);
    free(c->late);
    free(c->keyspace);
    free(c->arrivals);
    free(c->values);
    free(c->in);
    free(c);
}

/* ---- in ---- */

static void take(struct connection *c, size_t bytes) {
    c->from += bytes;
    c->taken_bytes += bytes;
    if (c->from == c->to) c->from = c->to = 0;
}

static void make_room(struct connection *c) {
    if (c->cap - c->to >= READ_BYTES) return;
    if (c->from > 0) {
        memmove(c->in, c->in + c->from, c->to - c->from);
        c->to -= c->from;
        c->from = 0;
    }
    if (c->cap - c->to < READ_BYTES) grow(&c->in, &c->cap, c->to + READ_BYTES, 1);
}

/* 1: something came; 0: nothing is there; -1: it is over. */
static int receive(struct connection *c, uint64_t now_ns) {
    if (c->to - c->from > HELD_BYTES_MAX) return 0;
    make_room(c);
    ssize_t got;
    do got = recv(c->fd, c->in + c->to, c->cap - c->to, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return -1;
    c->to += (size_t)got;
    uint64_t end = c->taken_bytes + (c->to - c->from);
    if (!c->delay_ns) {
        c->due_bytes = end;
        return 1;
    }
    grow(&c->arrivals, &c->arrivals_cap, c->n_arrivals + 1, sizeof *c->arrivals);
    c->arrivals[c->n_arrivals++] = (struct arrival){end, now_ns + c->delay_ns};
    return 1;
}

static void become_due(struct connection *c, uint64_t now_ns) {
    size_t n = 0;
    for (; n < c->n_arrivals && c->arrivals[n].due_ns <= now_ns; n++)
        c->due_bytes = c->arrivals[n].end;
    if (!n) return;
    c->n_arrivals -= n;
    memmove(c->arrivals, c->arrivals + n, c->n_arrivals * sizeof *c->arrivals);
}

uint64_t connection_due_ns(const struct connection *c) {
    uint64_t due_ns = c->n_arrivals ? c->arrivals[0].due_ns : UINT64_MAX;
    return c->n_late ? STN_MIN(due_ns, c->late[0].due_ns) : due_ns;
}

/* ---- frames ---- */

static uint32_t body_bytes_of(const uint8_t *head) {
    struct stn_cursor c = stn_cursor(head + 5, 4);
    return stn_get_be32(&c);
}

static void answer(struct connection *c, const uint8_t *frame) {
    struct stn_cursor body = stn_cursor(frame + STN_CQL_HEADER_BYTES, body_bytes_of(frame));
    if (frame_answer(c, frame, body) < 0) c->ends = 1;
}

/* Keeps one in so many back; later ones are answered meanwhile. */
static int becomes_late(struct connection *c, const uint8_t *frame, uint64_t now_ns) {
    if (frame[4] != STN_CQL_EXECUTE || !store_fault(c->store, FAULT_LATE)) return 0;
    size_t bytes = STN_CQL_HEADER_BYTES + (size_t)body_bytes_of(frame);
    grow(&c->late, &c->late_cap, c->n_late + 1, sizeof *c->late);
    struct late *l = &c->late[c->n_late++];
    *l = (struct late){now_ns + c->late_ns, must(malloc(bytes))};
    memcpy(l->frame, frame, bytes);
    return 1;
}

static void answer_late(struct connection *c, uint64_t now_ns) {
    size_t n = 0;
    pthread_mutex_lock(&c->store->lock);
    for (; n < c->n_late && c->late[n].due_ns <= now_ns; n++) {
        if (!c->ends) answer(c, c->late[n].frame);
        free(c->late[n].frame);
    }
    pthread_mutex_unlock(&c->store->lock);
    c->n_late -= n;
    if (n) memmove(c->late, c->late + n, c->n_late * sizeof *c->late);
}

/* Takes the next frame if it is here and due: 1; 0: it is not. */
static int answer_next(struct connection *c, uint64_t now_ns) {
    uint64_t due = c->due_bytes - c->taken_bytes;
    if (c->skip_bytes) {
        size_t n = (size_t)STN_MIN((uint64_t)c->skip_bytes, due);
        c->skip_bytes -= n;
        take(c, n);
        return n > 0;
    }
    if (due < STN_CQL_HEADER_BYTES) return 0;
    const uint8_t *head = c->in + c->from;
    uint32_t bytes = body_bytes_of(head);
    if (bytes > REQUEST_BYTES_MAX) {
        frame_too_long(c, head, bytes);
        take(c, STN_CQL_HEADER_BYTES);
        c->skip_bytes = bytes;
        return 1;
    }
    if (due - STN_CQL_HEADER_BYTES < bytes) return 0;
    if (!becomes_late(c, head, now_ns)) answer(c, head);
    take(c, STN_CQL_HEADER_BYTES + (size_t)bytes);
    return 1;
}

/* Number of requests that were taken. */
static size_t answer_all(struct connection *c, uint64_t now_ns) {
    size_t n = 0;
    pthread_mutex_lock(&c->store->lock);
    while (!c->ends && c->out.queued_bytes < ANSWERS_BYTES && answer_next(c, now_ns)) n++;
    pthread_mutex_unlock(&c->store->lock);
    return n;
}

uint32_t connection_turn(struct connection *c, uint64_t now_ns) {
    become_due(c, now_ns);
    answer_late(c, now_ns);
    for (;;) {
        int sent = output_send(&c->out, c->fd);
        if (sent < 0 || (sent && c->ends)) return 0;
        if (!sent) return EPOLLOUT;
        if (answer_all(c, now_ns)) continue;
        int came = receive(c, now_ns);
        if (came < 0) return 0;
        if (!came) return EPOLLIN;
    }
}
