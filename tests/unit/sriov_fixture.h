/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of SR-IOV share: a pcitest PF with VFs, and users of functions. */
#ifndef TESTS_UNIT_SRIOV_FIXTURE_H
#define TESTS_UNIT_SRIOV_FIXTURE_H

#include "vfio_fixture.h"

#include <poll.h>
#include <semaphore.h>

#include "devices/pcitest/pcitest_model.h"
#include "devices/pcitest/pcitest_spec.h"
#include "vfio/host.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"

#define PF_NAME "0000:01:00.0"
#define TOKEN   "2ab74924-c335-45f4-9b16-8569e5b08258"

/* A machine in which vfio-pci may enable VFs, with the device @spec. */
static inline void sriov_up(struct fixture *f, const char *spec)
{
	struct vfio_policy policy;

	vfio_policy_default(&policy);
	policy.enable_sriov = true;
	fixture_machine_with(f, &policy);
	assert_int_equal(vfio_machine_add_model(f->machine, &pcitest_model), 0);
	if (spec)
		fixture_add(f, spec);
}

static inline struct vfio_device *get(struct fixture *f, const char *name)
{
	struct vfio_device *dev = vfio_machine_get_device(f->machine, name);

	assert_non_null(dev);
	return dev;
}

struct answer {
	sem_t done;
	int result;
};

static inline void answered(void *arg, int result)
{
	struct answer *a = arg;

	a->result = result;
	sem_post(&a->done);
}

/* Until it is done. */
static inline int set_numvfs(struct vfio_device *pf, unsigned n)
{
	struct answer a;
	int ret;

	sem_init(&a.done, 0, 0);
	ret = vfio_device_set_numvfs(pf, n, answered, &a);
	if (!ret) {
		while (sem_wait(&a.done))
			;
		ret = a.result;
	}
	sem_destroy(&a.done);
	return ret;
}

/* Somebody who has a function, through its group. */
struct user {
	struct vfio_group_file *gf;
	struct vfio_container *container;
	struct vfio_device_file *df;
	struct vfio_device *dev;
};

/* @options: "vf_token=…" or NULL.  0 or -errno. */
static inline int user_open(struct fixture *f, struct user *u, const char *name,
			    const char *options)
{
	struct vfio_device *dev = vfio_machine_get_device(f->machine, name);
	char string[100];
	int ret;

	memset(u, 0, sizeof(*u));
	if (!dev)
		return -ENODEV;
	ret = vfio_group_open(f->machine, vfio_device_group(dev), &u->gf);
	vfio_device_put(dev);
	if (ret)
		return ret;
	assert_int_equal(vfio_container_open(f->machine, &u->container), 0);
	ret = vfio_group_set_container(u->gf, u->container);
	if (!ret)
		ret = vfio_container_ioctl(u->container, f->client, VFIO_SET_IOMMU,
					   VFIO_TYPE1v2_IOMMU);
	snprintf(string, sizeof(string), "%s%s%s", name, options ? " " : "",
		 options ? options : "");
	if (!ret)
		ret = vfio_group_get_device(u->gf, f->client, (uintptr_t)string, &u->df);
	if (!ret) {
		u->dev = vfio_device_file_device(u->df);
		return 0;
	}
	vfio_group_release(u->gf);
	vfio_container_release(u->container);
	memset(u, 0, sizeof(*u));
	return ret;
}

static inline void user_close(struct user *u)
{
	if (u->df)
		vfio_device_release(u->df);
	if (u->gf)
		vfio_group_release(u->gf);
	if (u->container)
		vfio_container_release(u->container);
	memset(u, 0, sizeof(*u));
}

static inline uint64_t user_get(struct user *u, unsigned region, uint64_t off, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(vfio_device_read(u->df, VFIO_REGION_OFFSET(region) + off, &value, size),
			 size);
	return value;
}

static inline void user_put(struct user *u, unsigned region, uint64_t off, unsigned size,
			    uint64_t value)
{
	assert_int_equal(vfio_device_write(u->df, VFIO_REGION_OFFSET(region) + off, &value, size),
			 size);
}

static inline int user_ioctl(struct fixture *f, struct user *u, unsigned cmd, void *arg)
{
	return vfio_device_ioctl(u->df, f->client, cmd, (uintptr_t)arg);
}

/* An eventfd for one interrupt. */
static inline int user_irq(struct fixture *f, struct user *u, unsigned index, unsigned vector)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} s = {{sizeof(s), VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index, vector,
		1},
	       eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};

	assert_true(s.fd >= 0);
	assert_int_equal(user_ioctl(f, u, VFIO_DEVICE_SET_IRQS, &s), 0);
	return s.fd;
}

/* Wait for it. */
static inline void irq_wait(int fd)
{
	struct pollfd pfd = {fd, POLLIN, 0};
	uint64_t n;

	assert_int_equal(poll(&pfd, 1, 60000), 1);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
}

static inline bool irq_has(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

#endif
