/* The whole command, as main() calls it; and so can others. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/* Once in a process: it closes standard output at its end. Returns the exit code. */
int cli_command(int argc, char **argv);

#endif
