/* Prints the token of each id (32 hex digits) that stands on a line of its input. */
#include <stdio.h>

#include "wire/token.h"

int main(void) {
    unsigned byte[16];
    for (;;) {
        uint8_t id[16];
        int n = 0;
        while (n < 16 && scanf("%2x", &byte[n]) == 1) {
            id[n] = (uint8_t)byte[n];
            n++;
        }
        if (n == 0) return 0;
        if (n < 16) return 1;
        if (printf("%lld\n", (long long)stn_token(id, sizeof id)) < 0) return 1;
    }
}
