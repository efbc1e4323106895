/* Lines that the library logs: what it does by itself, and what is no failure yet (a node that went
 * away, a server that does not answer). Failures of a call are in its struct sterna_error. */
#ifndef STERNA_LOG_H
#define STERNA_LOG_H

#include "sterna/version.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { /* smaller is worse */
       STERNA_LOG_ERROR = 1,
       STERNA_LOG_WARNING = 2,
       STERNA_LOG_INFO = 3
};

/* Where all lines of this process go from now on; NULL: nowhere. At first it is
 * sterna_log_to_stderr().
 *
 * line() is called on any thread, but by one at a time and never from a signal handler. `message`
 * is one line without its end, control characters escaped; it is valid during the call. line()
 * should return soon, as threads that move data may be waiting in it; what it makes the library log
 * is dropped. When sterna_set_log() returns, the former line() runs no more (unless it is the
 * caller). */
STERNA_API void sterna_set_log(void (*line)(void *ctx, int level, const char *message), void *ctx);

/* "sterna: MESSAGE" on stderr for warnings and errors; `ctx` is ignored. */
STERNA_API void sterna_log_to_stderr(void *ctx, int level, const char *message);

#ifdef __cplusplus
}
#endif
#endif
