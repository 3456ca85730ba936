/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Models of the user's own.
 *
 * A file is loaded while options are read: by the process that the user has started, with the
 * user's rights, before it has threads, forks or confines itself.  The server inherits it.  From
 * then on the model goes by its name, as if it were built in.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/own_models.h"
#include "devices/models.h"
#include "vfio/vfio.h"

/* The model's part of @spec, where a comma is written twice; *@rest is what follows.  To be freed.
 */
static char *model_part(const char *spec, const char **rest)
{
	char *part = malloc(strlen(spec) + 1), *out = part;

	if (!part)
		return NULL;
	for (; *spec; spec++) {
		if (*spec == ',' && *++spec != ',') {
			spec--;
			break;
		}
		*out++ = *spec;
	}
	*out = '\0';
	*rest = spec;
	return part;
}

static int add(struct own_models *models, const char *path, const struct uvfio_model *model,
	       struct uvfio_error *err)
{
	const struct uvfio_model **list;
	unsigned builtin = device_nr_models();

	for (unsigned i = 0; i < models->nr; i++) {
		if (models->list[i] == model)
			return 0;
	}
	for (unsigned i = 0; i < (models->list ? models->nr : builtin); i++) {
		const struct uvfio_model *other = models->list ? models->list[i] : device_models[i];

		if (!strcmp(other->name, model->name))
			return uvfio_error_set(err, -EEXIST,
					       "%s: its model is called %s, as %s one; give it "
					       "another name",
					       path, model->name,
					       i < builtin ? "a built-in" : "another");
	}
	if (models->closed)
		return uvfio_error_set(
			err, -EPERM,
			"%s: a server that runs can load no further models; start it "
			"anew",
			path);
	list = realloc(models->list, ((models->list ? models->nr : builtin) + 1) * sizeof(*list));
	if (!list)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (!models->list) {
		memcpy(list, device_models, builtin * sizeof(*list));
		models->nr = builtin;
	}
	models->list = list;
	list[models->nr++] = model;
	return 0;
}

int own_models_take(struct own_models *models, const char *spec, char **out,
		    struct uvfio_error *err)
{
	const struct uvfio_model *model = NULL;
	const char *rest = NULL;
	char *part = model_part(spec, &rest);
	int ret = part ? 0 : -ENOMEM;

	*out = NULL;
	if (part && strchr(part, '/')) {
		ret = vfio_model_load(part, &model, err);
		if (!ret)
			ret = add(models, part, model, err);
	}
	free(part);
	if (ret && ret != -ENOMEM)
		return ret;
	if (!ret && !model)
		*out = strdup(spec);
	else if (!ret && asprintf(out, "%s%s", model->name, rest) < 0)
		*out = NULL;
	return *out ? 0 : uvfio_error_set(err, -ENOMEM, "out of memory");
}

void own_models_fini(struct own_models *models)
{
	free(models->list);
	*models = (struct own_models){0};
}
