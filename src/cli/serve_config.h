/* SPDX-License-Identifier: BSD-3-Clause */
/* What the options of `uvfio serve` and its configuration file say, put together. */
#ifndef UVFIO_CLI_SERVE_CONFIG_H
#define UVFIO_CLI_SERVE_CONFIG_H

#include "cli/own_models.h"
#include "serve/serve.h"

struct serve_options {
	struct serve_config config; /* points into the rest */
	char *path;                 /* of the configuration file, NULL: none */
	char *machine, *control, *user, *sysfs, *state;
	struct own_models models; /* config.models points here when there are any */
};

void serve_options_init(struct serve_options *o);
void serve_options_fini(struct serve_options *o);
/* Each of these takes one setting; 0, or -errno with a message. */
int serve_option_device(struct serve_options *o, const char *spec, struct uvfio_error *err);
/* Also reads the file, for all but its devices. */
int serve_option_config(struct serve_options *o, const char *path, struct uvfio_error *err);
/* @key: machine, control, sysfs, user, confine, state. */
int serve_option_set(struct serve_options *o, const char *key, const char *value,
		     struct uvfio_error *err);
/* When all have been taken. */
int serve_options_check(const struct serve_options *o, struct uvfio_error *err);

#endif
