/* SPDX-License-Identifier: BSD-3-Clause */
/* The models that a command knows: those that are built in, and the user's own, loaded from files.
 */
#ifndef UVFIO_CLI_OWN_MODELS_H
#define UVFIO_CLI_OWN_MODELS_H

#include <stdbool.h>
#include <uvfio/device.h>

struct own_models {
	/* Built-in ones first; NULL until one is loaded. */
	const struct uvfio_model **list;
	unsigned nr;
	bool closed; /* no more can be loaded: the server is running */
};

/*
 * If @spec ("MODEL,key=value…") names a file, which has a '/' in it, its model is loaded, unless it
 * is already.  *@out is @spec with the model's own name in its place, a copy, to be freed.  0, or
 * -errno with a message.
 */
int own_models_take(struct own_models *models, const char *spec, char **out,
		    struct uvfio_error *err);
void own_models_fini(struct own_models *models); /* the models stay loaded */

#endif
