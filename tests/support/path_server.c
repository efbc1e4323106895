/* A server: requests wait for one of its threads, take their time, and their answers are written
 * without bound, as Cassandra does. */
#include "support/path_inside.h"

#include <math.h>
#include <string.h>

#define REFUSAL_BYTES 100

void path_server_init(struct path_server *server, struct path_sim *sim) {
    memset(server, 0, sizeof *server);
    server->sim = sim;
    server->concurrency = 64;
    server->mean_ns = 100 * PATH_US;
}

static uint64_t service_ns(struct path_server *server) {
    double rest = (double)(server->mean_ns - server->min_ns), u = 1 - path_random(server->sim);
    switch (server->service) {
    case PATH_EXPONENTIAL:
        return server->min_ns + (uint64_t)(-log(u) * rest);
    case PATH_HEAVY: /* of mean 3 times its least */
        return server->min_ns + (uint64_t)(STN_MIN(pow(u, -1 / 1.5), 1000) * rest / 3);
    default:
        return server->mean_ns;
    }
}

static int is_stalled(const struct path_server *server) {
    return server->sim->now_ns >= server->stall_from_ns &&
           server->sim->now_ns < server->stall_until_ns;
}

static void serve(struct path_server *server) {
    if (is_stalled(server)) {
        path_push(server->sim, server->stall_until_ns, PATH_RESUME, server);
        return;
    }
    while (server->head && server->n_busy < server->concurrency) {
        struct path_request *r = server->head;
        server->head = r->next;
        server->n_waiting--;
        server->n_busy++;
        path_push(server->sim, server->sim->now_ns + service_ns(server), PATH_SERVED, r);
    }
}

void path_server_resume(struct path_server *server) { serve(server); }

void path_server_request(struct path_request *r) {
    struct path_server *server = r->target->server;
    path_client_round_trip(r);
    r->answer_bytes = r->bytes;
    if (server->overload_above && server->n_waiting >= server->overload_above) {
        server->n_overloaded++;
        r->overloaded = 1;
        r->answer_bytes = REFUSAL_BYTES;
        path_server_answer(r);
        return;
    }
    r->next = NULL;
    if (server->head)
        server->tail->next = r;
    else
        server->head = r;
    server->tail = r;
    server->n_waiting++;
    serve(server);
}

void path_server_served(struct path_request *r) {
    struct path_server *server = r->target->server;
    uint64_t now_ns = server->sim->now_ns;
    server->n_busy--;
    serve(server);
    if (server->cap <= 0) {
        path_server_answer(r);
        return;
    }
    uint64_t takes_ns = (uint64_t)((double)r->bytes / server->cap * 1e9);
    server->cap_free_ns = STN_MAX(server->cap_free_ns, now_ns) + takes_ns;
    path_push(server->sim, server->cap_free_ns, PATH_ANSWER, r);
}

void path_server_answer(struct path_request *r) {
    struct path_conn *conn = r->conn;
    r->next = NULL;
    if (conn->head)
        conn->tail->next = r;
    else
        conn->head = r;
    conn->tail = r;
    path_tcp_write(conn, r->answer_bytes);
}
