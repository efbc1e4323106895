/* The whole command, as main() calls it; and so can others. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/* Returns the exit code, with all output written. Signals and the log are the command's then. */
int cli_command(int argc, char **argv);

#endif
