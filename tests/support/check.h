/* What every cmocka test includes, in the order cmocka wants it. */
#ifndef STN_TEST_CHECK_H
#define STN_TEST_CHECK_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "base/base.h"

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != STERNA_OK) fail_msg("%s: %d (%s)", #call, rc_, sterna_strerror(rc_));           \
    } while (0)

#endif
