#include "support/cluster.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

extern char **environ;

static void read_hosts(struct cluster *m, size_t n_nodes, int from) {
    FILE *lines = fdopen(from, "r");
    char line[80];
    while (m->n_hosts < n_nodes && fgets(line, sizeof line, lines)) {
        char *colon = strrchr(line, ':'), *name = m->names[m->n_hosts];
        if (!colon) fail_msg("cqlmem: %s", line);
        *colon = 0;
        snprintf(name, sizeof m->names[0], "%s", line);
        m->hosts[m->n_hosts++] = (struct stn_host){name, (uint16_t)atoi(colon + 1)};
    }
    if (m->n_hosts < n_nodes) fail_msg("cqlmem did not start");
    fclose(lines);
}

void cluster_start(struct cluster *m, const char *program, size_t n_nodes,
                   const char *const *args) {
    const char *argv[64] = {program, "--until-eof"};
    size_t n = 2;
    int in[2], out[2];
    posix_spawn_file_actions_t actions;
    *m = (struct cluster){0};
    assert_true(n_nodes <= STN_COUNT(m->hosts));
    for (size_t i = 0; i < n_nodes; i++) {
        argv[n++] = "--listen";
        argv[n++] = "127.0.0.1:0";
    }
    while (*args) argv[n++] = *args++;
    assert_true(n < STN_COUNT(argv));
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    int rc = posix_spawn(&m->pid, program, &actions, NULL, (char **)(uintptr_t)argv, environ);
    if (rc != 0) fail_msg("%s: %s", program, strerror(rc));
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    m->stdin_fd = in[1];
    read_hosts(m, n_nodes, out[0]);
}

void cluster_stop(struct cluster *m) {
    int status;
    if (!m->pid) return;
    close(m->stdin_fd);
    waitpid(m->pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    m->pid = 0;
}
