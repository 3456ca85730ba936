/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `set`: what can be set on a device.  The same as writing to the file in sysfs, by the same
 * functions (docs/rules/sriov.md), so the rules are theirs; what is said when one refuses is said
 * here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/wait.h"
#include "control/jobs.h"
#include "vfio/host.h"
#include "vfio/sriov.h"

static int fail(struct job *job, int ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(struct job *job, int ret, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(job->err.msg.msg, sizeof(job->err.msg.msg), fmt, ap);
	va_end(ap);
	return ret;
}

static int not_pf(struct job *job)
{
	return fail(job, -EINVAL,
		    "%s is no function that can have VFs (vfs=N, of models that have them)",
		    job->device);
}

static const char *driver_name(const struct vfio_device *dev)
{
	const char *name = vfio_device_driver_name(dev);

	return name ? name : "no driver";
}

/* ---- numvfs ---- */

static int numvfs_refused(struct job *job, struct vfio_device *pf, int ret)
{
	switch (ret) {
	case -ERANGE:
		return fail(job, ret, "numvfs=%s: %s has at most %u VFs", job->value, job->device,
			    vfio_device_total_vfs(pf));
	case -EBUSY:
		return fail(job, ret, "numvfs=%s: %s has %u VFs; take these away first: numvfs=0",
			    job->value, job->device, vfio_device_num_vfs(pf));
	case -ENOENT:
		return fail(
			job, ret,
			"numvfs=%s: %s has %s, which enables no VFs; vfio-pci does with --policy "
			"enable_sriov=Y, and pci-pf-stub and the host's own driver do",
			job->value, job->device, driver_name(pf));
	case -EINTR:
		return fail(job, ret, "numvfs=%s: the server ends", job->value);
	default:
		return ret;
	}
}

static int set_numvfs(struct job *job, struct vfio_device *dev)
{
	struct uvfio_wait *wait;
	unsigned n;
	int ret;

	if (!vfio_device_is_pf(dev))
		return not_pf(job);
	if (vfio_parse_numvfs(job->value, &n))
		return fail(job, -EINVAL, "numvfs=%s: not a number of VFs", job->value);
	wait = uvfio_wait_new();
	if (!wait)
		return -ENOMEM;
	ret = vfio_device_set_numvfs(dev, n, uvfio_wait_done, wait);
	if (!ret) {
		ret = job_await(job, wait);
	} else {
		uvfio_wait_cancel(wait);
		uvfio_wait_put(wait);
	}
	return ret ? numvfs_refused(job, dev, ret) : 0;
}

/* ---- sriov-drivers-autoprobe ---- */

static int set_autoprobe(struct job *job, struct vfio_device *dev)
{
	bool on = !strcmp(job->value, "on") || !strcmp(job->value, "true");

	if (!vfio_device_is_pf(dev))
		return not_pf(job);
	if (!on && strcmp(job->value, "off") != 0 && strcmp(job->value, "false") != 0)
		return fail(job, -EINVAL, "sriov-drivers-autoprobe=%s: valid are on and off",
			    job->value);
	vfio_device_set_drivers_autoprobe(dev, on);
	return 0;
}

/* ---- msix-vectors ---- */

static int vectors_refused(struct job *job, struct vfio_device *vf, int ret)
{
	struct vfio_device *pf = vfio_device_physfn(vf);
	const struct uvfio_sriov_desc *desc = pci_func_desc(vfio_device_func(pf))->sriov;

	switch (ret) {
	case -EOPNOTSUPP:
		return fail(
			job, ret,
			"msix-vectors=%s: the PF %s has %s; a pool of vectors is with the host's "
			"own driver, of a model that has one",
			job->value, vfio_device_name(pf), driver_name(pf));
	case -EBUSY:
		return fail(
			job, ret,
			"msix-vectors=%s: %s has the driver %s; a VF's vectors change while it has "
			"none: unbind it first",
			job->value, job->device, driver_name(vf));
	case -EINVAL:
		return fail(job, ret, "msix-vectors=%s: a VF of %s has %u vectors or more",
			    job->value, vfio_device_name(pf), desc->msix_min);
	case -EOVERFLOW:
		return fail(job, ret, "msix-vectors=%s: a VF of %s has at most %u vectors",
			    job->value, vfio_device_name(pf),
			    desc->msix_max ? desc->msix_max : desc->vf->msix_vectors);
	case -ENOSPC:
		return fail(
			job, ret,
			"msix-vectors=%s: the pool of %s has %u vectors, and the other VFs have too "
			"many of them",
			job->value, vfio_device_name(pf), desc->msix_pool);
	default:
		return ret;
	}
}

static int set_vectors(struct job *job, struct vfio_device *dev)
{
	unsigned n;
	int ret;

	if (!vfio_device_physfn(dev))
		return fail(job, -EINVAL, "%s is no VF: only VFs share a pool of vectors",
			    job->device);
	if (vfio_parse_msix_count(job->value, &n))
		return fail(job, -EINVAL, "msix-vectors=%s: not a number of vectors", job->value);
	ret = vfio_device_set_vf_msix_count(dev, n);
	return ret ? vectors_refused(job, dev, ret) : 0;
}

/* ---- the method ---- */

static const struct setting settings[] = {
	{"numvfs", set_numvfs},
	{"msix-vectors", set_vectors},
	{"sriov-drivers-autoprobe", set_autoprobe},
};

static void run_set(struct job *job)
{
	struct vfio_device *dev = vfio_machine_get_device(job->control->machine, job->device);
	int ret;

	if (!dev) {
		rpc_fail(&job->err, RPC_NO_DEVICE, -ENODEV, "%s has been removed", job->device);
		return;
	}
	job->err.msg.msg[0] = '\0';
	ret = job->setting->set(job, dev);
	vfio_device_put(dev);
	if (!ret)
		return;
	if (!job->err.msg.msg[0])
		fail(job, ret, "%s: %s=%s: %s", job->device, job->setting->name, job->value,
		     strerror(-ret));
	job->err.code = RPC_FAILED;
	job->err.error = ret;
}

/* The parameter "value" as text: a string, a number, true or false. */
static bool value_text(struct json_object *params, char out[SETTING_VALUE], struct rpc_error *err)
{
	struct json_object *value = NULL;
	const char *text = NULL;

	if (params)
		json_object_object_get_ex(params, "value", &value);
	if (json_object_is_type(value, json_type_string) &&
	    strlen(json_object_get_string(value)) == (size_t)json_object_get_string_len(value))
		text = json_object_get_string(value);
	if (json_object_is_type(value, json_type_int) ||
	    json_object_is_type(value, json_type_boolean))
		text = json_object_get_string(value);
	if (text && (size_t)snprintf(out, SETTING_VALUE, "%s", text) < SETTING_VALUE)
		return true;
	rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
		 "\"value\" must be a short string, a number, true or false");
	return false;
}

struct json_object *method_set(struct call *call, struct json_object *params, struct rpc_error *err)
{
	const struct setting *setting = NULL;
	char value[SETTING_VALUE];
	const char *name;
	struct job *job;

	if (!param_string(params, "name", &name, err))
		return NULL;
	for (unsigned i = 0; name && i < sizeof(settings) / sizeof(settings[0]); i++)
		if (!strcmp(settings[i].name, name))
			setting = &settings[i];
	if (!setting)
		return rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
				"'%.40s' cannot be set; what can: numvfs, msix-vectors, "
				"sriov-drivers-autoprobe",
				name ? name : "");
	if (!value_text(params, value, err))
		return NULL;
	job = job_for_device(call, params, run_set, err);
	if (!job)
		return NULL;
	job->setting = setting;
	memcpy(job->value, value, sizeof(value));
	job_start(job);
	return NULL;
}
