#include "base/thread.h"

#include <signal.h>

#include "base/base.h"

int stn_thread_create(pthread_t *thread, void *(*run)(void *), void *arg) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t none, before;
    sigfillset(&none);
    for (size_t i = 0; i < STN_COUNT(faults); i++) sigdelset(&none, faults[i]);
    pthread_sigmask(SIG_SETMASK, &none, &before);
    int rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}
