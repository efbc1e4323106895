#include "support/check.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/poll.h"

/* Two pairs of sockets: `fd` is watched, the test writes to the other end. */
struct watched {
    struct stn_poll_fd fd;
    int other;
    unsigned told;
    int events; /* of the last time */
    void (*then)(struct watched *w);
    struct watched *friend;
    struct stn_poll *poll;
};

static void ready(struct stn_poll_fd *fd, int events, uint64_t now_ns) {
    struct watched *w = STN_OUTER(fd, struct watched, fd);
    (void)now_ns;
    w->told++;
    w->events = events;
    if (w->then) w->then(w);
}

static struct stn_poll *opened(void) {
    struct stn_poll *poll;
    assert_ok(stn_poll_open(&poll, stn_clock_monotonic(), NULL));
    return poll;
}

static void watch(struct stn_poll *poll, struct watched *w, int events) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *w = (struct watched){.fd = {.fd = pair[0], .ready = ready}, .other = pair[1], .poll = poll};
    assert_ok(stn_poll_add(poll, &w->fd, events));
}

static void unwatch(struct stn_poll *poll, struct watched *w) {
    stn_poll_remove(poll, &w->fd);
    close(w->fd.fd);
    if (w->other >= 0) close(w->other);
}

static void put(int fd) { assert_int_equal(write(fd, "x", 1), 1); }

static void test_poll_tells_what_is_ready(void **state) {
    struct stn_poll *poll = opened();
    struct watched w;
    (void)state;
    watch(poll, &w, STN_POLL_READ);
    stn_poll_wait(poll, 0);
    assert_int_equal(w.told, 0);
    put(w.other);
    stn_poll_wait(poll, UINT64_MAX);
    assert_int_equal(w.told, 1);
    assert_int_equal(w.events, STN_POLL_READ);
    assert_ok(stn_poll_change(poll, &w.fd, STN_POLL_WRITE));
    stn_poll_wait(poll, UINT64_MAX);
    assert_int_equal(w.events, STN_POLL_WRITE);
    assert_ok(stn_poll_change(poll, &w.fd, 0));
    stn_poll_wait(poll, 0);
    assert_int_equal(w.told, 2);
    unwatch(poll, &w);
    stn_poll_close(&poll);
    stn_poll_close(&poll);
}

static void test_poll_tells_an_error_as_both(void **state) {
    struct stn_poll *poll = opened();
    struct watched w;
    (void)state;
    watch(poll, &w, STN_POLL_READ);
    close(w.other);
    w.other = -1;
    stn_poll_wait(poll, UINT64_MAX);
    assert_int_equal(w.events, STN_POLL_READ | STN_POLL_WRITE);
    unwatch(poll, &w);
    stn_poll_close(&poll);
}

static void remove_both(struct watched *w) {
    unwatch(w->poll, w->friend);
    unwatch(w->poll, w);
    memset(w->friend, 0xA5, sizeof *w->friend); /* as freed memory might be */
}

/* Both are ready in one batch, and whoever is told first takes the other one away. */
static void test_poll_remove_within_ready(void **state) {
    struct stn_poll *poll = opened();
    struct watched a, b;
    (void)state;
    for (int again = 0; again < 2; again++) {
        watch(poll, &a, STN_POLL_READ);
        watch(poll, &b, STN_POLL_READ);
        a.friend = &b;
        b.friend = &a;
        a.then = b.then = remove_both;
        if (again) {
            stn_poll_again(poll, &a.fd);
            stn_poll_again(poll, &b.fd);
        } else {
            put(a.other);
            put(b.other);
        }
        stn_poll_wait(poll, UINT64_MAX);
        assert_true(a.told == 1 || b.told == 1);
        assert_true(a.told != b.told);
        stn_poll_wait(poll, 0);
        assert_true(a.told == 1 || b.told == 1);
    }
    stn_poll_close(&poll);
}

static void once_more(struct watched *w) {
    if (w->told == 1) stn_poll_again(w->poll, &w->fd);
}

/* One turn a wait, and no waiting in between. */
static void test_poll_again(void **state) {
    struct stn_poll *poll = opened();
    struct watched w;
    (void)state;
    watch(poll, &w, STN_POLL_READ);
    w.then = once_more;
    stn_poll_again(poll, &w.fd);
    stn_poll_again(poll, &w.fd);
    stn_poll_wait(poll, UINT64_MAX);
    assert_int_equal(w.told, 1);
    assert_int_equal(w.events, 0);
    stn_poll_wait(poll, UINT64_MAX);
    assert_int_equal(w.told, 2);
    stn_poll_wait(poll, 0);
    assert_int_equal(w.told, 2);
    stn_poll_again(poll, &w.fd);
    unwatch(poll, &w);
    stn_poll_wait(poll, 0);
    assert_int_equal(w.told, 2);
    stn_poll_close(&poll);
}

static void *wake_it(void *poll) {
    stn_poll_wake(poll);
    return NULL;
}

/* From another thread; many wake-ups are one; and after it was taken the next wait waits. */
static void test_poll_wake(void **state) {
    struct stn_poll *poll = opened();
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wake_it, poll), 0);
    stn_poll_wait(poll, UINT64_MAX);
    pthread_join(thread, NULL);
    stn_poll_wake(poll);
    stn_poll_wake(poll);
    stn_poll_wait(poll, UINT64_MAX);
    uint64_t begin = stn_now(stn_clock_monotonic());
    stn_poll_wait(poll, begin + 2 * STN_NS_PER_MS); /* or ctest's time limit finds it */
    assert_true(stn_now(stn_clock_monotonic()) >= begin + 2 * STN_NS_PER_MS);
    stn_poll_close(&poll);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poll_tells_what_is_ready),
        cmocka_unit_test(test_poll_tells_an_error_as_both),
        cmocka_unit_test(test_poll_remove_within_ready),
        cmocka_unit_test(test_poll_again),
        cmocka_unit_test(test_poll_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
