/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to a device: reset, interrupts, mishaps. */
#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include "machine/own.h"
#include "vfio/inject.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"

int uvfio_machine_reset(struct uvfio_machine *machine, const char *name, struct uvfio_error *err)
{
	struct vfio_device *dev;
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	dev = vfio_machine_get_device(machine->machine, name);
	if (dev) {
		ret = vfio_device_host_reset(dev);
		if (ret)
			uvfio_error_set(err, ret, "%s: %s", name,
					ret == -ENOTTY ? "it has no way to be reset"
						       : strerror(-ret));
		vfio_device_put(dev);
	} else {
		ret = own_no_device(name, err);
	}
	own_leave();
	return ret;
}

struct numvfs {
	sem_t done;
	int result;
};

static void numvfs_done(void *arg, int result)
{
	struct numvfs *call = arg;

	call->result = result;
	sem_post(&call->done);
}

static const char *numvfs_problem(int ret)
{
	switch (ret) {
	case -ENODEV:
		return "it is no PF, or is being removed";
	case -ERANGE:
		return "it cannot have so many VFs";
	case -EBUSY:
		return "it has another number of VFs; take them away first, with 0";
	case -ENOENT:
		return "its driver enables no VFs (vfio-pci does with the policy enable_sriov=Y)";
	default:
		return strerror(-ret);
	}
}

int uvfio_machine_set_numvfs(struct uvfio_machine *machine, const char *name, unsigned n,
			     struct uvfio_error *err)
{
	struct vfio_device *dev;
	struct numvfs call;
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	dev = vfio_machine_get_device(machine->machine, name);
	if (!dev) {
		ret = own_no_device(name, err);
		own_leave();
		return ret;
	}
	sem_init(&call.done, 0, 0);
	ret = vfio_device_set_numvfs(dev, n, numvfs_done, &call);
	vfio_device_put(dev); /* or its removal would wait for us */
	if (!ret) {
		while (sem_wait(&call.done))
			;
		ret = call.result;
	}
	sem_destroy(&call.done);
	if (ret)
		uvfio_error_set(err, ret, "%s: %u VFs: %s", name, n, numvfs_problem(ret));
	own_leave();
	return ret;
}

int uvfio_machine_raise(struct uvfio_machine *machine, const char *name, unsigned vector,
			struct uvfio_error *err)
{
	struct vfio_device *dev;
	int ret = own_check(machine, err);

	if (ret)
		return ret;
	dev = vfio_machine_get_device(machine->machine, name);
	if (!dev)
		return own_no_device(name, err);
	vfio_device_inject_irq(dev, vector);
	vfio_device_put(dev);
	return 0;
}

static int inject_aer(struct vfio_device *dev, const char *error, struct uvfio_error *err)
{
	struct vfio_aer aer;
	int ret = vfio_aer_parse(error ? error : "", &aer, err);

	return ret ? ret : vfio_device_inject_aer(dev, &aer, NULL, err);
}

static int inject(struct vfio_device *dev, const char *what, const char *error, unsigned count,
		  uint64_t ns, struct uvfio_error *err)
{
	if (!count)
		count = 1;
	if (!strcmp(what, "aer"))
		return inject_aer(dev, error, err);
	if (!strcmp(what, "irq-storm")) {
		if (count > VFIO_STORM_MAX)
			return uvfio_error_set(err, -EINVAL, "at most %u interrupts at once",
					       VFIO_STORM_MAX);
		return vfio_device_inject_irqs(dev, count, err);
	}
	if (!strcmp(what, "fault")) {
		vfio_device_inject_faults(dev, count);
	} else if (!strcmp(what, "stuck-reset")) {
		if (ns > VFIO_STUCK_MAX_NS)
			return uvfio_error_set(err, -EINVAL, "a reset is stuck for %llu s at most",
					       VFIO_STUCK_MAX_NS / 1000000000);
		vfio_device_inject_stuck_resets(dev, count, ns ? ns : 1000000000);
	} else if (!strcmp(what, "slow-mmio")) {
		if (ns > VFIO_SLOW_MAX_NS)
			return uvfio_error_set(err, -EINVAL,
					       "an access takes %llu ms longer at most",
					       VFIO_SLOW_MAX_NS / 1000000);
		vfio_device_inject_slow_mmio(dev, ns ? ns : 1000000);
	} else if (!strcmp(what, "nothing")) {
		vfio_device_inject_nothing(dev);
	} else {
		return uvfio_error_set(err, -EINVAL,
				       "'%s' cannot be injected; what can: aer, fault, irq-storm, "
				       "slow-mmio, stuck-reset, nothing (which ends the others)",
				       what);
	}
	return 0;
}

int uvfio_machine_inject(struct uvfio_machine *machine, const char *name, const char *what,
			 const char *error, unsigned count, uint64_t ns, struct uvfio_error *err)
{
	struct vfio_device *dev;
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	dev = vfio_machine_get_device(machine->machine, name);
	if (dev) {
		ret = inject(dev, what, error, count, ns, err);
		vfio_device_put(dev);
	} else {
		ret = own_no_device(name, err);
	}
	own_leave();
	return ret;
}
