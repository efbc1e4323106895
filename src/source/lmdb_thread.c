#include "source/lmdb_thread.h"

#include <pthread.h>

#include "base/thread.h"

enum task { NOTHING, BEGIN, COMMIT, ABORT, QUIT };

struct stn_lmdb_thread {
    pthread_t thread;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    enum task task; /* NOTHING: it was done */
    MDB_env *env;
    MDB_txn *txn;
    int code;
};

static int perform(struct stn_lmdb_thread *t, enum task task) {
    switch (task) {
    case BEGIN:
        return mdb_txn_begin(t->env, NULL, 0, &t->txn);
    case COMMIT:
        return mdb_txn_commit(t->txn);
    case ABORT:
        mdb_txn_abort(t->txn);
        break;
    case NOTHING:
    case QUIT:
        break;
    }
    return MDB_SUCCESS;
}

static void *run(void *arg) {
    struct stn_lmdb_thread *t = arg;
    enum task task = NOTHING;
    pthread_mutex_lock(&t->lock);
    while (task != QUIT) {
        while (t->task == NOTHING) pthread_cond_wait(&t->changed, &t->lock);
        task = t->task;
        /* LMDB holds a lock of its own from BEGIN to COMMIT: never to be taken within ours. Until
         * it is told that the task is done nobody else looks at the rest. */
        pthread_mutex_unlock(&t->lock);
        t->code = perform(t, task);
        pthread_mutex_lock(&t->lock);
        t->task = NOTHING;
        pthread_cond_signal(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Has it done there. Only one thread at a time asks, as only one uses a writer. */
static int ask(struct stn_lmdb_thread *t, enum task task, MDB_env *env, MDB_txn **txn) {
    pthread_mutex_lock(&t->lock);
    t->env = env;
    t->txn = txn ? *txn : NULL;
    t->task = task;
    pthread_cond_signal(&t->changed);
    while (t->task != NOTHING) pthread_cond_wait(&t->changed, &t->lock);
    if (txn) *txn = t->txn;
    int code = t->code;
    pthread_mutex_unlock(&t->lock);
    return code;
}

int stn_lmdb_thread_begin(struct stn_lmdb_thread *t, MDB_env *env, MDB_txn **txn) {
    *txn = NULL;
    return ask(t, BEGIN, env, txn);
}

int stn_lmdb_thread_commit(struct stn_lmdb_thread *t, MDB_txn *txn) {
    return ask(t, COMMIT, NULL, &txn);
}

void stn_lmdb_thread_abort(struct stn_lmdb_thread *t, MDB_txn *txn) { ask(t, ABORT, NULL, &txn); }

int stn_lmdb_thread_open(struct stn_lmdb_thread **out, struct sterna_error *err) {
    struct stn_lmdb_thread *t = *out = stn_array(1, sizeof *t);
    if (!t) return stn_fail_memory(err, "a writer's thread");
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    if (stn_thread_create(&t->thread, run, t) == 0) return STERNA_OK;
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
    *out = NULL;
    return stn_fail_memory(err, "a writer's thread");
}

void stn_lmdb_thread_close(struct stn_lmdb_thread **out) {
    struct stn_lmdb_thread *t = *out;
    *out = NULL;
    if (!t) return;
    ask(t, QUIT, NULL, NULL);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
