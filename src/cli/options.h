/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the options of `uvfio run` and its configuration file say, put together.
 */
#ifndef UVFIO_CLI_OPTIONS_H
#define UVFIO_CLI_OPTIONS_H

#include "cli/own_models.h"
#include "uapi/uapi.h"

struct run_options {
	struct uapi_config config;
	char **devices; /* owned; config.devices points here */
	unsigned nr_devices;
	char *trace, *name, *control, *machine; /* owned */
	struct own_models models;               /* config.models points here when there are any */
	bool policy_given, isolation_given;
	bool trace_format_given;
};

/* Each of these takes one setting; 0, or -EINVAL with a message. */
int option_device(struct run_options *o, const char *spec, struct uvfio_error *err);
int option_sysfs(struct run_options *o, const char *value, struct uvfio_error *err);
int option_sandbox(struct run_options *o, const char *value, struct uvfio_error *err);
int option_mmio(struct run_options *o, const char *mode, struct uvfio_error *err);
int option_policy(struct run_options *o, const char *assignment, struct uvfio_error *err);
/* --interrupt-isolation: what the machine's platform has (F). */
int option_isolation(struct run_options *o, const char *value, struct uvfio_error *err);
int option_trace(struct run_options *o, const char *file, struct uvfio_error *err);
int option_trace_format(struct run_options *o, const char *format, struct uvfio_error *err);
/* --name and --control: the machine's name, and where its control socket is. */
int option_name(struct run_options *o, const char *name, struct uvfio_error *err);
int option_control(struct run_options *o, const char *path, struct uvfio_error *err);
/* --machine: the name of a served machine, or the path of its control socket. */
int option_machine(struct run_options *o, const char *name, struct uvfio_error *err);
/* Do they go together?  When all have been taken. */
int options_check(const struct run_options *o, struct uvfio_error *err);
/* Read a JSON file: the keys are the long options; see uvfio-run(1). */
int option_config(struct run_options *o, const char *path, struct uvfio_error *err);
void options_free(struct run_options *o);

#endif
