/* The command as a program. */
#include "command.h"

int main(int argc, char **argv) { return cli_command(argc, argv); }
