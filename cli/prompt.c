/* The terminal itself is asked, not stdin and stdout, which may be files. Its settings are kept
 * where a signal handler finds them: whoever leaves with Ctrl-C wants to see again what is typed.
 */
#include "prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

#define PASSWORD_BYTES_MAX 1024

struct answer {
    struct answer *next;
    char *user, *host;
    char password[PASSWORD_BYTES_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* one question at a time */
static struct answer *answers;

static struct termios before;
static atomic_int asked_fd = -1; /* of the terminal while its echo is off */

int cli_prompt_restore(void) {
    int fd = atomic_exchange(&asked_fd, -1);
    if (fd >= 0) tcsetattr(fd, TCSAFLUSH, &before);
    return fd >= 0;
}

/* ---- what was answered before ---- */

static void wipe(void) {
    if (pthread_mutex_trylock(&lock) != 0) return; /* a question is open: exit() does not wait */
    for (struct answer *a = answers, *next; a; a = next) {
        next = a->next;
        explicit_bzero(a->password, sizeof a->password);
        free(a->user);
        free(a->host);
        free(a);
    }
    answers = NULL;
    pthread_mutex_unlock(&lock);
}

static const struct answer *recall(const char *user, const char *host) {
    const struct answer *a = answers;
    while (a && (strcmp(a->user, user) != 0 || strcmp(a->host, host) != 0)) a = a->next;
    return a;
}

static const struct answer *keep(struct answer *a, const char *user, const char *host) {
    a->user = strdup(user);
    a->host = strdup(host);
    if (!a->user || !a->host) {
        explicit_bzero(a->password, sizeof a->password);
        free(a->user);
        free(a->host);
        free(a);
        return NULL;
    }
    if (!answers) atexit(wipe);
    a->next = answers;
    answers = a;
    return a;
}

/* ---- the question ---- */

static void say(int fd, const char *text) {
    ssize_t rc;
    do rc = write(fd, text, strlen(text));
    while (rc < 0 && errno == EINTR);
}

/* A line without its end. 0 when there is none, or it is too long. */
static int read_answer(int fd, char *line, size_t cap) {
    size_t used = 0;
    for (;;) {
        ssize_t n = read(fd, line + used, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        if (line[used] == '\n') break;
        if (++used == cap) return 0;
    }
    line[used] = 0;
    return used > 0;
}

static int ask(int fd, const char *user, const char *host, char *line, size_t cap) {
    char question[512], u[200], h[200];
    snprintf(question, sizeof question,
             "Password of %s at %s: ", cli_printable(user, strlen(user), u, sizeof u),
             cli_printable(host, strlen(host), h, sizeof h));
    if (tcgetattr(fd, &before) < 0) return 0;
    struct termios silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    silent.c_lflag |= ICANON | ISIG;
    atomic_store(&asked_fd, fd); /* first: a signal between the two finds it */
    int answered = 0;
    if (tcsetattr(fd, TCSAFLUSH, &silent) == 0) {
        say(fd, question);
        answered = read_answer(fd, line, cap);
        say(fd, "\n");
    }
    cli_prompt_restore();
    return answered;
}

static const struct answer *ask_terminal(const char *user, const char *host) {
    if (!isatty(STDIN_FILENO)) return NULL; /* a script: it must not hang */
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return NULL;
    struct answer *a = calloc(1, sizeof *a);
    if (a && !ask(fd, user, host, a->password, sizeof a->password)) {
        explicit_bzero(a->password, sizeof a->password);
        free(a);
        a = NULL;
    }
    close(fd);
    return a ? keep(a, user, host) : NULL;
}

int cli_prompt_password(void *ctx, const char *user, const char *host, char *buf, size_t cap) {
    (void)ctx;
    pthread_mutex_lock(&lock);
    const struct answer *a = recall(user, host);
    if (!a) a = ask_terminal(user, host);
    size_t bytes = a ? strlen(a->password) + 1 : 0;
    int rc = a && bytes <= cap ? STERNA_OK : STERNA_EREFUSED;
    if (rc == STERNA_OK) memcpy(buf, a->password, bytes);
    pthread_mutex_unlock(&lock);
    return rc;
}
