#include "side.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_LOOK_MS = 10, TERM_MS = 5000 };
enum { ASK_CONFIGURE = 'c', ASK_RUN = 'r', ASK_END = 'e' };

struct place { /* of the side's process */
    struct wan_side_options o;
    int socket, signals;
    pid_t command; /* 0: does not run */
    int looks;     /* for a listening socket */
    int ending;
    uint64_t kill_ms; /* when patience ends */
};

static uint64_t clock_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- messages ---- */

static void tell(const struct place *p, const struct wan_side_message *m, int fd) {
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {(void *)(uintptr_t)m, sizeof *m};
    struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        h.msg_control = control;
        h.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    sendmsg(p->socket, &h, MSG_NOSIGNAL); /* nobody there: poll will say so */
}

static void told_only(const struct place *p, enum wan_side_told what) {
    tell(p, &(struct wan_side_message){.told = what}, -1);
}

void wan_side_receive(struct wan_side *s, struct wan_side_message *m) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {m, sizeof *m};
    struct msghdr h = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    ssize_t got;
    do got = recvmsg(s->socket, &h, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof *m) {
        *m = (struct wan_side_message){.told = WAN_SIDE_FAILED, .why = "its process has gone"};
        return;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_type == SCM_RIGHTS) memcpy(&s->tun_fd, CMSG_DATA(c), sizeof s->tun_fd);
}

static void ask(struct wan_side *s, char what) {
    if (s->socket >= 0) send(s->socket, &what, 1, MSG_NOSIGNAL);
}

void wan_side_configure(struct wan_side *s) { ask(s, ASK_CONFIGURE); }
void wan_side_run(struct wan_side *s) { ask(s, ASK_RUN); }
void wan_side_end(struct wan_side *s) { ask(s, ASK_END); }

/* ---- processes ---- */

static pid_t parent_of(const char *pid) {
    char path[64], text[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    char *name_end = strrchr(text, ')');
    if (name_end) sscanf(name_end + 1, " %*c %d", &parent);
    return parent;
}

static void kill_children(void) {
    DIR *dir = opendir("/proc");
    const struct dirent *e;
    while (dir && (e = readdir(dir)))
        if (isdigit((unsigned char)e->d_name[0]) && parent_of(e->d_name) == getpid())
            kill((pid_t)atoi(e->d_name), SIGKILL);
    if (dir) closedir(dir);
}

/* All that ever came of the command: orphans become our children (PR_SET_CHILD_SUBREAPER). */
static void kill_all(void) {
    do kill_children();
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}

static int shell_status(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void reap(struct place *p) {
    struct signalfd_siginfo info;
    int status;
    while (read(p->signals, &info, sizeof info) > 0) continue;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != p->command) continue;
        struct wan_side_message m = {.told = WAN_SIDE_ENDED, .status = shell_status(status)};
        p->command = 0;
        p->looks = 0;
        tell(p, &m, -1);
    }
}

__attribute__((noreturn)) static void execute(const struct place *p) {
    char **command = p->o.is_server ? p->o.all->server : p->o.all->client;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (p->o.is_server) { /* stdout is the client's */
        int nothing = open("/dev/null", O_RDONLY);
        if (nothing > 0) dup2(nothing, 0);
        if (nothing > 0) close(nothing);
        dup2(2, 1);
    }
    setenv("STERNA_WAN_SERVER", WAN_ADDRESS_SERVER, 1);
    setenv("STERNA_WAN_CLIENT", WAN_ADDRESS_CLIENT, 1);
    execvp(command[0], command);
    fprintf(stderr, "wan: %s: %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static void run(struct place *p) {
    pid_t pid = fork();
    if (pid == 0) execute(p);
    if (pid < 0) {
        struct wan_side_message m = {.told = WAN_SIDE_FAILED};
        wan_failed(m.why, "fork");
        tell(p, &m, -1);
        return;
    }
    p->command = pid;
    p->looks = p->o.is_server && p->o.all->ready_port != 0;
    if (p->o.is_server && !p->looks) told_only(p, WAN_SIDE_LISTENS);
}

/* ---- the side's life ---- */

static int make(struct place *p, struct wan_side_message *m, int *tun_fd) {
    *tun_fd = -1;
    if (wan_network_enter(m->why) < 0) return -1;
    if (p->o.by_tun && (*tun_fd = wan_network_open_tun(m->why)) < 0) return -1;
    return 0;
}

static int configure(const struct place *p, struct wan_side_message *m) {
    const struct wan_options *a = p->o.all;
    const struct wan_end_options end = {.is_server = p->o.is_server,
                                        .congestion = p->o.is_server ? a->server_cc : a->client_cc,
                                        .wmem_max = p->o.is_server ? a->server_wmem_max : 0,
                                        .rmem_max = p->o.is_server ? 0 : a->client_rmem_max,
                                        .addresses = p->o.is_server ? a->addresses : 1};
    if (!p->o.by_tun && p->o.peer > 0 && wan_netem_connect(p->o.peer, m->why) < 0) return -1;
    if (wan_network_configure(&end, m->why) < 0) return -1;
    if (!p->o.by_tun && wan_netem_apply(a, m->why) < 0) return -1;
    wan_network_facts(end.congestion, &m->facts);
    return 0;
}

static void tell_configured(const struct place *p) {
    struct wan_side_message m = {.told = WAN_SIDE_CONFIGURED};
    if (configure(p, &m) < 0) m.told = WAN_SIDE_FAILED;
    tell(p, &m, -1);
}

/* Does what is asked; 0 when there is nobody who asks. */
static int obey(struct place *p) {
    char what;
    ssize_t got = recv(p->socket, &what, 1, MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return 0;
    if (what == ASK_CONFIGURE) tell_configured(p);
    if (what == ASK_RUN) run(p);
    if (what == ASK_END && !p->ending) {
        p->ending = 1;
        p->kill_ms = clock_ms() + TERM_MS;
        if (p->command > 0) kill(p->command, SIGTERM);
    }
    return 1;
}

static void look(struct place *p) {
    if (!p->looks || !wan_network_listens(p->o.all->ready_port)) return;
    p->looks = 0;
    told_only(p, WAN_SIDE_LISTENS);
}

static void live(struct place *p) {
    struct pollfd fds[2] = {{p->socket, POLLIN, 0}, {p->signals, POLLIN, 0}};
    while (!p->ending || p->command > 0) {
        int wait_ms = p->ending || p->looks ? LISTEN_LOOK_MS : -1;
        if (poll(fds, 2, wait_ms) < 0 && errno != EINTR) return;
        if (fds[1].revents) reap(p);
        if (fds[0].revents && !obey(p)) return;
        look(p);
        if (p->ending && clock_ms() >= p->kill_ms && p->command > 0) kill(p->command, SIGKILL);
    }
}

__attribute__((noreturn)) static void side_main(struct place *p) {
    struct wan_side_message made = {.told = WAN_SIDE_MADE}, done = {.told = WAN_SIDE_DONE};
    sigset_t child;
    int tun_fd;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    /* Those that wan's own process waits for stay blocked: it says when we end. */
    sigprocmask(SIG_BLOCK, &child, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1UL);
    p->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (make(p, &made, &tun_fd) < 0) made.told = WAN_SIDE_FAILED;
    tell(p, &made, tun_fd);
    if (tun_fd >= 0) close(tun_fd); /* wan's process has it, and with it the device */

    live(p);
    kill_all();
    done.device_drops = wan_network_device_drops();
    if (!p->o.by_tun) wan_netem_counts(&done.netem);
    tell(p, &done, -1);
    _exit(0);
}

int wan_side_start(struct wan_side *s, const struct wan_side_options *o) {
    int pair[2];
    *s = (struct wan_side){.name = o->name, .socket = -1, .tun_fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -1;
    fflush(NULL);
    s->pid = fork();
    if (s->pid == 0) {
        struct place place = {.o = *o, .socket = pair[1]};
        close(pair[0]);
        if (o->close_fd >= 0) close(o->close_fd); /* else its end would not be seen */
        side_main(&place);
    }
    close(pair[1]);
    s->socket = pair[0];
    return s->pid < 0 ? -1 : 0;
}

void wan_side_close(struct wan_side *s) {
    if (s->socket >= 0) close(s->socket); /* which ends the process */
    if (s->tun_fd >= 0) close(s->tun_fd);
    if (s->pid > 0) waitpid(s->pid, NULL, 0);
    *s = (struct wan_side){.name = s->name, .socket = -1, .tun_fd = -1};
}
