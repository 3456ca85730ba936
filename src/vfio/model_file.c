/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device model in a shared object.
 *
 * Its symbols are looked up before it is trusted with anything, and what it refers to is bound at
 * once (RTLD_NOW): a model that lacks a function fails here, with the name of the function, and not
 * in the middle of a run.  It is never unloaded: devices, threads and debuggers refer to it.
 */
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "vfio/vfio.h"

#define MAX_NAME 31u

/* The first function that a model must have and @model has not, or NULL. */
static const char *missing(const struct uvfio_model *model)
{
	if (!model->create)
		return "create";
	if (!model->destroy)
		return "destroy";
	if (!model->reg_write)
		return "reg_write";
	if (!model->work)
		return "work";
	if (!model->quiesce)
		return "quiesce";
	return model->reset ? NULL : "reset";
}

/* A name that can stand in front of ",key=value", and is no path. */
static bool good_name(const char *name)
{
	size_t len = name ? strnlen(name, MAX_NAME + 1) : 0;

	if (!len || len > MAX_NAME)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
			return false;
	}
	return true;
}

int vfio_model_check(const char *what, const struct uvfio_model *model, struct uvfio_error *err)
{
	const char *lacks;

	/* The first member, in every version; nothing else may be looked at before. */
	if (model->abi != UVFIO_DEVICE_ABI)
		return uvfio_error_set(err, -ENOEXEC,
				       "%s was built for version %u of the model interface, and "
				       "this uvfio has version %u: build it again, with the "
				       "uvfio/device.h of this one",
				       what, model->abi, UVFIO_DEVICE_ABI);
	if (!good_name(model->name))
		return uvfio_error_set(
			err, -EINVAL,
			"%s: its model's name must be 1 to %u letters, digits, - and _", what,
			MAX_NAME);
	lacks = missing(model);
	if (lacks || (model->nr_keys && !model->keys))
		return uvfio_error_set(err, -EINVAL, "%s: the model %s has no %s", what,
				       model->name, lacks ? lacks : "keys, though it counts some");
	return 0;
}

int vfio_model_load(const char *path, const struct uvfio_model **out, struct uvfio_error *err)
{
	const struct uvfio_model *model;
	const char *why;
	void *object;
	int ret;

	if (!strchr(path, '/'))
		return uvfio_error_set(err, -EINVAL, "%s: give a path, like ./%s", path, path);
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!object) {
		why = dlerror();
		return uvfio_error_set(err, -ENOEXEC, "cannot load the model %s: %s", path,
				       why ? why : "no reason is known");
	}
	model = dlsym(object, UVFIO_MODEL_SYMBOL);
	if (!model) {
		dlclose(object);
		return uvfio_error_set(err, -ENOEXEC,
				       "%s has no symbol " UVFIO_MODEL_SYMBOL
				       ": a model is exported with UVFIO_EXPORT_MODEL "
				       "(uvfio/device.h)",
				       path);
	}
	ret = vfio_model_check(path, model, err);
	if (ret) {
		dlclose(object);
		return ret;
	}
	*out = model;
	return 0;
}
