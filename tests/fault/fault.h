/* Makes the n-th call of one kind fail in this process: allocations, I/O, threads, SQLite's memory.
 *
 * But for the last two kinds: the programs that use it are linked with --wrap for each name in
 * calls.txt, so exactly the calls made by our own objects are counted, on any thread; other
 * libraries' are not, except SQLite's allocations, which go through its own table. Production code
 * knows nothing of this. */
#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include <stdint.h>

enum fault_kind {
    FAULT_NONE = 0,
    FAULT_MEMORY = 1 << 0,     /* an allocation gives nothing (ENOMEM) */
    FAULT_SQL_MEMORY = 1 << 1, /* the same within SQLite */
    FAULT_EIO = 1 << 2,        /* a system call fails with EIO */
    FAULT_FULL = 1 << 3,       /* one that may need room on the disk fails with ENOSPC */
    FAULT_SIGNAL = 1 << 4,     /* one that a signal may interrupt fails with EINTR, three times */
    FAULT_SHORT = 1 << 5,      /* a read or write stops half-way, of a socket too */
    FAULT_THREAD = 1 << 6,     /* a thread cannot be started (EAGAIN) */
    FAULT_LOW_EIO = 1 << 7,    /* a call that reads or changes a file fails with EIO, also within
                                  LMDB and SQLite (see tap.h) */
    FAULT_LOW_FULL = 1 << 8,   /* one that changes a file fails with ENOSPC, likewise */
    FAULT_SOCKET = 1 << 9,     /* a call on a socket fails with ECONNRESET */
};

/* Before SQLite is first used in the process, if FAULT_SQL_MEMORY is to be armed. */
void fault_watch_sqlite(void);

/* Counts calls of `kind` from now on; the n-th fails, or all from the n-th on. n = 0: none. */
void fault_arm(enum fault_kind kind, uint64_t n, int lasting);

/* Ends it. How many calls there were; *failed (may be NULL): how many failed. */
uint64_t fault_disarm(uint64_t *failed);

/* How many have failed since it was armed; but for the LOW kinds. Any thread. */
uint64_t fault_failed(void);

/* Which call failed first, and from where, as a text for people. */
const char *fault_place(void);

#endif
