/* LMDB's write lock belongs to the thread that took it, and must be given back by it: the system
 * keeps a list of such locks for each thread. So a writer, which may be used on any thread, begins
 * and ends its transactions on one of its own. What is between needs no certain thread. */
#ifndef STN_LMDB_THREAD_H
#define STN_LMDB_THREAD_H

#include <lmdb.h>

#include "base/base.h"

struct stn_lmdb_thread;

int stn_lmdb_thread_open(struct stn_lmdb_thread **out, struct sterna_error *err);
/* As mdb_txn_begin(env, NULL, 0, txn), mdb_txn_commit() and mdb_txn_abort(). */
int stn_lmdb_thread_begin(struct stn_lmdb_thread *t, MDB_env *env, MDB_txn **txn);
int stn_lmdb_thread_commit(struct stn_lmdb_thread *t, MDB_txn *txn);
void stn_lmdb_thread_abort(struct stn_lmdb_thread *t, MDB_txn *txn);
void stn_lmdb_thread_close(struct stn_lmdb_thread **t); /* NULL is fine */

#endif
