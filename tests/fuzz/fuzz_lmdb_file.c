/* The look at a data file before LMDB maps and believes it. */
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "source/lmdb_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sterna_error err = {0};
    int empty = 0, fd = fuzz_file(data, size, NULL);
    int rc = stn_lmdb_check_file(fd, "input", &empty, &err);
    claim(rc == STERNA_OK || (rc == STERNA_EFORMAT && err.message[0]));
    claim(size > 0 || empty);
    close(fd);
    return 0;
}
