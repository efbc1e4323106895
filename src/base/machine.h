/* Facts of the machine this process runs on. */
#ifndef STN_MACHINE_H
#define STN_MACHINE_H

#include <stdint.h>

/* Bytes of memory this process may use: the smaller of the host's and its cgroups' limits. */
uint64_t stn_memory_limit(void);

/* Processes that share this host in one job (LOCAL_WORLD_SIZE, SLURM_NTASKS_PER_NODE), at least 1.
 */
unsigned stn_local_ranks(void);

/* CPUs this process may use, by affinity, at least 1. */
unsigned stn_usable_cpus(void);

#endif
