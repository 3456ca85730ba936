/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `uvfio` command: one function a subcommand, each in a file of its own.  A command gets its
 * name in argv[0] and returns the exit status.
 */
#ifndef UVFIO_CLI_CLI_H
#define UVFIO_CLI_CLI_H

#include <uvfio/device.h>

#define EXIT_USAGE 2

int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_lspci(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_faults(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);
int cmd_reset(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_inject(int argc, char **argv);
int cmd_add(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_open(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_save(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_models(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
