/* ask [gently]: asks for one password twice, as two connections do, and prints the answers. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "interrupt.h"
#include "prompt.h"

int main(int argc, char **argv) {
    char password[64];
    cli_interrupt_setup();
    if (argc > 1 && strcmp(argv[1], "gently") == 0) cli_interrupt_gently();
    for (int i = 0; i < 2; i++) {
        int rc = cli_prompt_password(NULL, "reader", "db1", password, sizeof password);
        if (rc < 0) return cli_fail_err(rc, NULL);
        printf("answer: %s\n", password);
    }
    return cli_finish(CLI_DONE);
}
